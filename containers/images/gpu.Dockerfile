# syntax=docker/dockerfile:1
# The one image of the Python stages: ingest on CPUs, preprocess, train, compile and infer on GPUs.
#
# Built by `cdk deploy` (lib/cloud/container-image.ts); its context is the repository, less what is not copied here.
# NOT VERIFIED, for want of a Docker engine where this was written: that the image builds, what the base brings, and
# that driver 580 of the ECS AMI runs it. What can be checked without one is, in test/cloud/container-image.test.ts.

# PyTorch 2.11 (2.11.0a0+a6c236b9fd.nv26.03), the version of requirements.lock, with CUDA 13.2, cuDNN 9.20, NCCL 2.29
# and TensorRT 10.16, Python 3.12: NVIDIA's release notes of 26.03. TensorRT has no other public source of packages.
FROM nvcr.io/nvidia/pytorch:26.03-py3

# The locked packages, without PyTorch and what it stands on: PyPI's build would overwrite NVIDIA's, and its CUDA
# libraries would hide the base's. --no-deps, because the lock is complete; an empty PIP_CONSTRAINT, because the base
# constrains its own versions in /etc/pip/constraint.txt.
COPY containers/requirements.lock containers/images/lock_around_torch.py /opt/voxelburst/
RUN python /opt/voxelburst/lock_around_torch.py /opt/voxelburst/requirements.lock > /opt/voxelburst/around-torch.txt \
    && PIP_CONSTRAINT= pip install --no-cache-dir --no-deps --require-hashes --requirement /opt/voxelburst/around-torch.txt

# Fails the build when the base or a package does not fit, rather than the first job.
RUN python -c "import torch, nvidia.dali, monai, nibabel, pydicom, onnx, onnxruntime, s3fs, tensorrt; \
assert torch.__version__.startswith('2.11.'), torch.__version__"

COPY lib/contracts/schema /opt/voxelburst/schema
COPY containers/src/voxelburst /opt/voxelburst/src/voxelburst
ENV PYTHONPATH=/opt/voxelburst/src \
    VOXELBURST_SCHEMA_DIR=/opt/voxelburst/schema \
    PYTHONUNBUFFERED=1

# NVIDIA's entry point puts CUDA's compatibility libraries in front where the driver is older than the image (13.0 on
# driver 580). Batch gives `<stage> --task <uri>`, SageMaker `train` or `serve`: each is a command of voxelburst.
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "python", "-m", "voxelburst"]
