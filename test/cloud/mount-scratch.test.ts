// The instances' start-up script, run dry: every command that would touch a disk only writes down how it was called.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const script = path.resolve(import.meta.dirname, "../../lib/cloud/mount-scratch.sh");
/** As lsblk prints them on EC2: a root volume, and the drives of the instance. */
const ROOT = "nvme0n1 Amazon Elastic Block Store";
const drive = (number: number) => `nvme${number}n1 Amazon EC2 NVMe Instance Storage`;

let bin: string;
beforeEach(() => {
  bin = mkdtempSync(path.join(tmpdir(), "voxelburst-scratch-"));
});
afterEach(() => rmSync(bin, { recursive: true }));

function command(name: string, body: string): void {
  writeFileSync(path.join(bin, name), `#!/bin/bash\n${body}\n`);
  chmodSync(path.join(bin, name), 0o755);
}

/** @returns the exit status, and the calls in order */
function runWith(drives: string[], failing?: string): { status: number | null; calls: string[] } {
  const log = path.join(bin, "calls");
  writeFileSync(log, "");
  command("lsblk", `printf '%s\\n' ${drives.map((each) => `'${each}'`).join(" ")}`);
  for (const name of ["mkdir", "dnf", "mdadm", "mkfs.xfs", "mount", "chmod"])
    command(name, `echo "${name} $*" >> "${log}"${name === failing ? "; exit 1" : ""}`);
  const { status } = spawnSync("bash", [script], { env: { PATH: `${bin}:${process.env.PATH}` } });
  return { status, calls: readFileSync(log, "utf8").trim().split("\n") };
}

describe("mount-scratch.sh", () => {
  it("makes one RAID 0 of eight drives, leaves the root volume alone, and mounts it at /scratch", () => {
    const { status, calls } = runWith([ROOT, ...[1, 2, 3, 4, 5, 6, 7, 8].map(drive)]);
    const devices = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => `/dev/nvme${number}n1`).join(" ");
    expect(status).toBe(0);
    expect(calls).toEqual([
      "mkdir -p /scratch",
      "chmod 1777 /scratch",
      "dnf install --assumeyes --quiet mdadm",
      `mdadm --create /dev/md/scratch --run --level=0 --raid-devices=8 ${devices}`,
      "mkfs.xfs -f -q /dev/md/scratch",
      "mount -o noatime /dev/md/scratch /scratch",
      "chmod 1777 /scratch",
    ]);
  });

  it("takes a single drive as it is", () => {
    expect(runWith([ROOT, drive(1)]).calls).toEqual([
      "mkdir -p /scratch",
      "chmod 1777 /scratch",
      "mkfs.xfs -f -q /dev/nvme1n1",
      "mount -o noatime /dev/nvme1n1 /scratch",
      "chmod 1777 /scratch",
    ]);
  });

  it("leaves /scratch on the root volume where there is no drive", () => {
    const { status, calls } = runWith([ROOT]);
    expect(status).toBe(0);
    expect(calls).toEqual(["mkdir -p /scratch", "chmod 1777 /scratch"]);
  });

  it.each(["dnf", "mdadm"])("takes the first drive where %s fails", (failing) => {
    const { status, calls } = runWith([ROOT, drive(1), drive(2)], failing);
    expect(status).toBe(0);
    expect(calls.slice(-3)).toEqual([
      "mkfs.xfs -f -q /dev/nvme1n1",
      "mount -o noatime /dev/nvme1n1 /scratch",
      "chmod 1777 /scratch",
    ]);
  });

  it("ends as failed where a drive takes no file system, with a /scratch on the root volume that all may write", () => {
    const { status, calls } = runWith([ROOT, drive(1)], "mkfs.xfs");
    expect(status).not.toBe(0);
    expect(calls.slice(0, 2)).toEqual(["mkdir -p /scratch", "chmod 1777 /scratch"]);
    expect(calls.some((call) => call.startsWith("mount"))).toBe(false);
  });
});
