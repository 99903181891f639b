// Every measured number that estimates are made of, in one table. An estimate is these times what is counted exactly
// (operations, windows, voxels); to calibrate anew, run a dataset, divide the report's figures by the same counts and
// write the quotient here with what it was measured on.
import type { EngineName, Plan, Strategy } from "../../lib/contracts/index.ts";

export const CALIBRATION = {
  /** Share of a machine's or a GPU's memory that a stage may plan to take: the rest is the system's and the cache's. */
  usableShareOfMemory: 0.9,

  // Memory of the stages on a processor: largest resident sets by the stages' own peakMemoryMiB, November 2026, two
  // cores with AVX2, torch 2.11, ONNX Runtime 1.32. Of 512x512x400 voxels: docs/benchmarks/large-volumes.md. Of
  // 256x256x128 (phantoms of the same seed, width 16, batch 1) and of Task04: test/lambdas/plan/memory.test.ts, which
  // holds what is said to what all three took.
  //
  // train: UNet3d's forward and backward pass, of 40x56x40 at width 16 and batch 7 and of 96^3 at width 16 and batch 1,
  // took 13.2 and 14.1 bytes an element; the process without them 1.2 GiB.
  trainBaseGiB: 1.25,
  /** Bytes of host memory an element of nnU-Net's proxy. */
  trainBytesPerElement: { fp32: 14, bf16: 8, fp16: 8 } satisfies Record<Plan["precision"], number>,
  /** Of all cases of a training: float32 images and int8 labels, read or mapped (loaders/cases.py). Pages of a mapped
   * file count as resident, though the system takes them back when it needs them. */
  arrayBytesPerVoxel: { image: 4, label: 1 },
  /** GPU: nnU-Net's scale is for mixed precision; fp32 keeps twice the bytes of most of it. */
  fp32OverMixedMemory: 1.8,
  gpuContextGiB: 1,

  // A process with its libraries, and what it keeps of the largest case: 82 to 87 MiB of Task04; of 512x512x400 4.2 bytes
  // a voxel of integers and 6.6 of floats, of 256x256x128 4.5 and 7.2.
  ingestBaseGiB: 0.1,
  ingestBytesPerVoxel: { integer: 5, float: 7 },
  // 558 to 610 MiB of Task04. Not resampled, 9 (256x256x128) to 14 bytes a voxel. Resampled, 512x512x400 to 425x551x551
  // and 256x256x128 to 136x276x276 took 2,712 and 407 MiB over Task04's: 20.4 bytes a voxel of the larger grid and
  // 0.2 GiB, which the allocator keeps of blocks below its threshold for returning them; of small cases that is less.
  preprocessBaseGiB: 0.6,
  preparedBytesPerVoxel: 16,
  resampledBytesPerVoxel: 22,
  resampledOverhead: { bytesPerVoxel: 43, mostGiB: 0.2 },
  // With ONNX Runtime at width 16. infer: 744 to 814 MiB of Task04; it prepares a case as preprocess does, and then has
  // its array, its logits in float32 and their resampling, less than preparing took with three classes.
  inferBaseGiB: 0.75,
  inferBytesPerVoxel: { perClass: 4, image: 8 },
  /** Bytes an element of the proxy of a window: 256x256x128 in windows of 96x160x160 took 2,519 MiB. */
  inferBytesPerElement: 6,
  // compile: 1,053 MiB of Task04, 3,726 with windows of 96x160x160: the engine and torch side by side. It reads the
  // labels of a case whole, and maps its image: 256 MiB of 425x551x551.
  compileBaseGiB: 1,
  compileBytesPerElement: 12,
  compileBytesPerVoxel: 3,
  // In the command's own process: 132 MiB at its end with three cases, 148 after the plan of 208.
  planMemoryGiB: 0.18,
  reportMemoryGiB: 0.18,

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
