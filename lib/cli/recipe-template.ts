// recipe.yaml as `init` writes it: every field, its default and its meaning, all of it commented out.

export const RECIPE_TEMPLATE = `# What a run of this dataset does. Every line that is commented out shows a default; remove the # to change it.
# Each field can also be given to a run: voxelburst run DATASET --set train.minutes=10 --set folds=fold1

# model:
#   name: unet3d            # nnU-Net's plain U-Net; resenc-unet: its residual encoder; swin-unetr: a transformer
#   width: 32               # features of the first stage, 4 to 64; default without a GPU: 16; swin-unetr: 24 and 12

# train:
#   minutes: 10             # budget; becomes a number of steps once, after warm-up
#   steps: 25000            # budget in steps; wins over minutes
#   precision: bf16         # fp32, bf16 or fp16, of the strategies amp, dali, fused and ddp
#   optimizer: sgd          # sgd (nnU-Net's) or adamw, the default without a GPU and of swin-unetr
#   seed: 0
#   checkpointMinutes: 2    # a checkpoint at least this often

# folds: fold0              # one, a list such as [fold0, fold1], or all; default: the first
# foldCount: 5              # folds by patient where there is no splits.json

# strategies: fused         # any of fp32, amp, dali, fused, ddp; default: the fastest that the machine has
# engines: onnxruntime      # any of torch, inductor, onnxruntime, tensorrt, triton; default: the fastest that the machine has

# plan:
#   memoryGiB: 8            # memory that nnU-Net's rules plan for; default without a GPU: 1
#   spacingMm: [1, 1, 1]    # z, y, x; default: the median over the cases
#   patch: [64, 64, 64]     # z, y, x; default: planned
#   batch: 2                # default: planned

# ingest:
#   minSlices: 4            # a DICOM series with fewer slices is refused

# infer:
#   overlap: 0.5            # of neighbouring windows, 0 to 0.9
#   mirroring: false        # mean over all flips of the spatial axes: slower, a little better
#   nsdToleranceMm: 1       # of the normalised surface Dice
#   precision: fp16         # of the engine: fp32, bf16, fp16, fp8 or int8; default: the fastest that passes the parity gate

# capacity:
#   rungs: [spot, on-demand]  # on AWS, in this order: reservation, spot, on-demand, smaller-gpu; default: the deployment's
#   training: sagemaker     # or batch: multi-node jobs over EFA; default: what the deployment prefers
#   nodes: 2                # instances of one ddp training, at most what the deployment allows
#   pricedAs: p5.4xlarge    # runs on one machine are priced as this instance type

# maxUsd: 50                # hard cap on what a run can cost
`;
