#!/bin/sh
# One measurement on a GPU machine: measure.sh STEP [SECONDS [ARGUMENT ...]]. See README.md beside this.
export PATH="/tmp/vb/node_modules/.bin:$PATH" VOXELBURST_HOME="${VOXELBURST_HOME:-/tmp/vbhome}" PYTHONUNBUFFERED=1
OUT=${OUT:-/tmp/out}
python=/tmp/vb/.venv/bin/python
limit=${2:-500}
cd /tmp/vb || exit 1
mkdir -p "$OUT"
vb() { timeout --signal INT "$limit" node bin/voxelburst.ts "$@"; }
phantoms() { vb bench "$@" --size 176 --cases 4 --batch 8 --warm-up 8 --steps 12; }

# An environment of a peer is the machine's Python with its wheels in front.
peer() {
  mkdir -p "/tmp/peers/$1/bin"
  printf '#!/bin/sh\nexport PYTHONPATH=%s/site\nexec python3 "$@"\n' "$2" > "/tmp/peers/$1/bin/python"
  chmod +x "/tmp/peers/$1/bin/python"
}
# Of a run or plan of a dataset: the task whose cases are compared. $1 dataset, $2 peers, $3 what, $4 file.
task_of() { find "$VOXELBURST_HOME" -path "*$1-*/tasks/preprocess.json" | head -1; }
beside() {
  task=$(task_of "$1")
  timeout "$limit" $python -m voxelburst bench --strategies "" --preprocess-task "$task" --compare "$2" --peers-do "$3" \
    --peers-home /tmp/peers --out "$OUT/$4"
}

case $1 in
  hippocampus)
    vb run data/hippocampus --set folds=fold1 --set strategies=fused --set train.minutes=4.8 --set engines=torch,triton \
      --set infer.mirroring=true --json > "$OUT/run.json"
    cp "$VOXELBURST_HOME"/store/artefacts/runs/hippocampus-*/report/report.json "$OUT/"
    ;;
  seeds) # seeds of fold1, such as: seeds 600 2 3
    shift 2
    for seed in "$@"; do
      vb run data/hippocampus --set folds=fold1 --set strategies=fused --set train.minutes=4.8 --set "train.seed=$seed" \
        --set engines=triton --set infer.mirroring=true --json > "$OUT/seed$seed.json"
    done
    ;;
  folds) # the other three, half as long
    vb run data/hippocampus --set folds=fold0,fold2,fold3 --set strategies=fused --set train.steps=24000 \
      --set engines=triton --set infer.mirroring=true --json > "$OUT/folds.json"
    ;;
  models) # such as: models 500 resenc-unet swin-unetr
    shift 2
    for model in "$@"; do
      vb run data/hippocampus --set folds=fold1 --set strategies=fused --set train.minutes=2 --set "model=$model" \
        --set engines=torch,inductor --json > "$OUT/$model.json"
    done
    ;;
  nnunet)
    peer nnunet /tmp/gpu-nn
    beside hippocampus nnunet preprocess,predict nnunet.json
    ;;
  ladder)
    phantoms --strategies fp32,amp,dali,fused --augmentations mlperf --out "$OUT/ladder.json"
    phantoms --strategies "" --engines triton,inductor,tensorrt --profile --out "$OUT/engines.json"
    ;;
  recipe) phantoms --strategies fused --augmentations recipe --profile --out "$OUT/recipe.json" ;;
  ablate)
    phantoms --strategies fused --augmentations recipe --out "$OUT/ablation.json" \
      --without graph,gpu-loader,residence,stem,upsample,fused-norm,channels-last,compile
    ;;
  ddp) # 1, 2, 4, 8 of the host's GPUs, as many as there are
    gpus=$(nvidia-smi -L | wc -l)
    counts=$(for n in 1 2 4 8; do [ $n -le "$gpus" ] && echo $n; done | paste -sd,)
    phantoms --strategies fused,ddp --gpus "$counts" --augmentations mlperf --out "$OUT/ddp.json"
    ;;
  ddp-dice) # the same steps at the plan's batch on one GPU and on all
    vb run data/hippocampus --set folds=fold1 --set "strategies=[fused, ddp]" --set train.steps=12000 \
      --set engines=triton --set infer.mirroring=true --json > "$OUT/ddp-dice.json"
    ;;
  ddp-kill) # a rank is lost; the run ends failed, and goes on from its checkpoint
    vb run data/hippocampus --set folds=fold1 --set strategies=ddp --set train.steps=9000 --set train.seed=5 \
      --set train.checkpointMinutes=0.1 --set engines=triton > "$OUT/killed.log" 2>&1 &
    until find "$VOXELBURST_HOME" -path '*checkpoints/*' -newer "$OUT/killed.log" | grep -q .; do sleep 1; done
    sleep 3
    pkill -9 -n -f 'voxelburst train --task'
    wait $! && echo "a run that lost a rank succeeded" >&2
    vb resume > "$OUT/resumed.log" 2>&1
    grep -h "resumed from step" "$OUT/resumed.log"
    tail -n 12 "$OUT/resumed.log"
    ;;
  ct)
    peer monai /tmp/gpu-py
    peer nnunet /tmp/gpu-nn
    $python -m voxelburst phantoms --out /tmp/ct --seed 7 --cases 10 --test-cases 0 --dicom 0 --no-bad \
      --shape 512 512 200
    vb plan /tmp/ct --set folds=fold0
    task=$(task_of ct)
    shards=$($python -c "import json, sys; print(json.load(open(sys.argv[1]))['shards'])" "$task")
    for shard in $(seq 0 $((shards - 1))); do
      AWS_BATCH_JOB_ARRAY_INDEX=$shard $python -m voxelburst preprocess --task "file://$task"
    done
    beside ct monai predict ct.json
    beside ct nnunet preprocess ct-preprocess.json
    ;;
  norms)
    for case in "40,56,40 plugin fp16" "40,56,40 operations fp16" "128,128,128 plugin fp16" "128,128,128 layer fp16"; do
      # shellcheck disable=SC2086
      timeout 170 $python docs/benchmarks/gpu/norms.py $case | tee -a "$OUT/norms.jsonl"
    done
    ;;
  *) echo "no step $1" >&2; exit 1 ;;
esac
