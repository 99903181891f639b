#!/bin/bash
# Packs the command line for a GPU machine without a network: pack.sh OUT [DATASET ...]
set -euo pipefail
out=$(realpath -m "$1")
shift
root=$(realpath "$(dirname "$0")/../../..")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git -C "$root" archive HEAD bin lib lambdas containers/src docs/benchmarks/gpu package.json CHANGELOG.md | tar x -C "$tree"
cd "$tree"
# Without the CDK and what only development needs.
node -e '
  const fs = require("fs"), p = JSON.parse(fs.readFileSync("package.json"));
  for (const name of ["aws-cdk-lib", "constructs", "esbuild"]) delete p.dependencies[name];
  p.devDependencies = { node: p.devDependencies.node };
  p.allowScripts = { node: true };
  fs.writeFileSync("package.json", JSON.stringify(p));'
npm install --no-audit --no-fund --silent
find node_modules \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' \) -delete
mkdir -p .venv/bin data
cat > .venv/bin/python <<'P'
#!/bin/sh
export PYTHONPATH=/tmp/vb/containers/src:/tmp/gpu-py/site:/tmp/gpu-trt/site VOXELBURST_SCHEMA_DIR=/tmp/vb/lib/contracts/schema
export LD_LIBRARY_PATH=/tmp/gpu-trt/lib:$LD_LIBRARY_PATH
exec python3 "$@"
P
chmod +x .venv/bin/python
for dataset in "$@"; do cp -r "$dataset" data/; done
mkdir -p "$out"
tar cf - . | xz -T0 -6 > "$out/voxelburst.tar.xz"
ls -l "$out/voxelburst.tar.xz"
