// Every measured number that estimates are made of, in one table. An estimate is these times what is counted exactly
// (operations, windows, voxels); to calibrate anew, run a dataset, divide the report's figures by the same counts and
// write the quotient here with what it was measured on.
import type { EngineName, Plan, Strategy } from "../../lib/contracts/index.ts";

export const CALIBRATION = {
  /** Share of a machine's or a GPU's memory that a stage may plan to take: the rest is the system's and the cache's. */
  usableShareOfMemory: 0.9,

  // Memory of train. CPU: largest resident set of UNet3d's forward and backward pass (MONAI 1.6.1, torch 2.11, AVX2):
  // 40x56x40 at width 16 and batch 7, and 96^3 at width 16 and batch 1, took 13.2 and 14.1 bytes an element over a
  // process of 0.8 GiB with torch loaded.
  trainBaseGiB: 1.2,
  /** Bytes of host memory an element of nnU-Net's proxy. */
  trainBytesPerElement: { fp32: 14, bf16: 8, fp16: 8 } satisfies Record<Plan["precision"], number>,
  /** GPU: nnU-Net's scale is for mixed precision; fp32 keeps twice the bytes of most of it. */
  fp32OverMixedMemory: 1.8,
  gpuContextGiB: 1,

  // Memory of the other stages: a process with its libraries, and what it keeps of the largest case. Ingest and
  // preprocess: 256x256x128 int16 against Task04's cases, 114 against 82 MiB and 853 against 610 MiB (1,144 where it
  // is resampled).
  ingestBaseGiB: 0.1,
  ingestBytesPerVoxel: 6,
  preprocessBaseGiB: 0.6,
  preprocessBytesPerVoxel: 30,
  preprocessBytesPerResampledVoxel: 65,
  // infer and compile with ONNX Runtime at width 16: Task04 took 814 and 1,057 MiB; 256x256x128 in windows of
  // 96x160x160 took 2,519 and 3,726 MiB.
  inferBaseGiB: 0.75,
  compileBaseGiB: 0.95,
  /** A voxel of the resampled case and class: logits, their sum and their resampling. */
  inferBytesPerVoxelAndClass: 12,
  /** Bytes an element of the proxy of a window; compile has the engine and torch side by side. */
  inferBytesPerElement: 6,
  compileBytesPerElement: 11,
  planMemoryGiB: 0.2,
  reportMemoryGiB: 0.3,

  // Start of a process until its first case or step: interpreter, torch, DALI, MONAI; two at once on two cores.
  ingestStartSeconds: 1.5,
  preprocessStartSeconds: 6,
  trainStartSeconds: 15,
  compileStartSeconds: 8,
  inferStartSeconds: 8,
  planSeconds: 2,
  reportSeconds: 10,

  // Cases on one core (Zen 3 at 2.4 GHz), processor time: fixed (Task04's cases), and a million voxels (256x256x128)
  // read, checked, written; of arrays, resampled too.
  ingestSecondsPerCase: 0.006,
  ingestSecondsPerMegavoxel: 0.05,
  preprocessSecondsPerCase: 0.018,
  preprocessSecondsPerMegavoxel: 0.03,
  preprocessSecondsPerResampledMegavoxel: 0.11,
  /** Read, prepared, put back into the image's grid, written, scored and drawn. */
  inferSecondsPerCase: 0.25,
  inferSecondsPerMegavoxel: 0.2,
  /** On a GPU the same work of preprocess and infer, as a share of a core's time. */
  gpuCaseShare: 0.2,

  /** A training step takes this many forward passes. */
  passesPerStep: 3,
  /** What a step takes beside its operations: launches, loader, optimiser. */
  stepOverheadSeconds: { cpu: 0.02, gpu: 0.012 },
  /** Throughput of the whole net as a share of Machine.convGflops, the best rate of 3x3x3 convolutions. */
  trainShare: {
    // 67 of 141 GFLOP/s in fp32, 40x56x40 at width 16 and batch 7, no augmentation.
    cpu: 0.45,
    // performance.md, one H100, the reference net at batch 2, against 250 TFLOP/s of its 3x3x3 convolutions.
    gpu: { fp32: 0.06, amp: 0.33, dali: 0.33, fused: 0.53, ddp: 0.53 } satisfies Record<Strategy, number>,
  },
  inferShare: {
    // 18 windows of 96x160x160 and 30 of 40x56x40 at width 16: 56 GFLOP/s of ONNX Runtime on one core, where the probe
    // has 141 on two. torch: 82 of 141 without a loader beside it.
    cpu: { torch: 0.58, inductor: 0.58, onnxruntime: 0.75, tensorrt: 0.75, triton: 0.75 } satisfies Record<
      EngineName,
      number
    >,
    // performance.md, one H100 at window batch 4 to 8; triton: 255 windows/s in fp16 there.
    gpu: { torch: 0.115, inductor: 0.85, onnxruntime: 0.115, tensorrt: 0.64, triton: 0.97 } satisfies Record<
      EngineName,
      number
    >,
  },
  /** Where no probe has measured the machine: an AVX2 core and an H100. */
  defaultConvGflops: { perCpu: 60, gpu: 250_000 },

  /** Exporting to ONNX, which every engine's model folder has, and building the engine, without its parity. */
  buildSeconds: {
    cpu: { torch: 10, inductor: 70, onnxruntime: 10, tensorrt: 10, triton: 10 } satisfies Record<EngineName, number>,
    // performance.md: 101 s for TensorRT at builder level 3.
    gpu: { torch: 10, inductor: 70, onnxruntime: 10, tensorrt: 110, triton: 20 } satisfies Record<EngineName, number>,
  },
  // What the parity is measured on at most (containers/src/voxelburst/engines/parity.py), twice each: by the engine,
  // and by torch in fp32. Of a large case, a block of so many patches an axis.
  parityWindows: 64,
  parityCases: 32,
  parityBlockPatches: 1.5,

  /** On AWS, before a stage's first process: an instance is found and started, and pulls the image. */
  provisionSeconds: 300,
} as const;
