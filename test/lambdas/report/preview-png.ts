// A preview as infer draws one: a grey slice, the reference and the prediction outlined in the contract's colours.
import { crc32, deflateSync } from "node:zlib";
import { previewColours } from "../../../lib/contracts/index.ts";

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}

const rgb = (hex: string): [number, number, number] => [
  Number.parseInt(hex.slice(1, 3), 16),
  Number.parseInt(hex.slice(3, 5), 16),
  Number.parseInt(hex.slice(5, 7), 16),
];

/** A PNG of size x size pixels; `shift` is how far, in pixels, the prediction lies from the reference. */
export function previewPng(size = 256, shift = 6): Uint8Array {
  const raw = Buffer.alloc(size * (size * 3 + 1));
  const outline = (x: number, y: number, cx: number, cy: number, r: number) =>
    Math.abs(Math.hypot(x - cx, (y - cy) * 1.2) - r) < 1.2;
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const at = y * (size * 3 + 1) + 1 + x * 3;
      const body = Math.hypot(x - size / 2, (y - size / 2) * 1.25) < size * 0.44;
      const organ = Math.hypot(x - size * 0.45, (y - size * 0.48) * 1.2) < size * 0.2;
      const noise = ((x * 7919 + y * 104729 + x * y * 31) % 23) - 11;
      const grey = Math.max(0, Math.min(255, (body ? (organ ? 150 : 85) : 12) + noise));
      let colour: [number, number, number] = [grey, grey, grey];
      if (outline(x, y, size * 0.45, size * 0.48, size * 0.2)) colour = rgb(previewColours.reference);
      if (outline(x, y, size * 0.45 + shift, size * 0.48 - shift / 2, size * 0.2))
        colour = rgb(previewColours.prediction);
      raw.set(colour, at);
    }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(raw)),
    chunk("IEND", new Uint8Array()),
  ]);
}
