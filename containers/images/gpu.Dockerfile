# The one image of the Python stages: ingest on CPUs, preprocess, train, compile and infer on GPUs.
#
# Built by `cdk deploy` (lib/cloud/container-image.ts) or by CodeBuild (lib/cloud/image-pipeline.ts); its context is the
# repository, less what is not copied here.
# NOT VERIFIED, for want of a Docker engine where this was written: that the image builds, what the base brings, that
# driver 580 of the ECS AMI runs it, and EFA. What can be checked without one is, in test/cloud/container-image.test.ts
# and containers/tests/images.

# PyTorch 2.11 (2.11.0a0+a6c236b9fd.nv26.03), the version of requirements.lock, with CUDA 13.2, cuDNN 9.20, NCCL 2.29
# and TensorRT 10.16, Python 3.12: NVIDIA's release notes of 26.03. TensorRT has no other public source of packages.
FROM nvcr.io/nvidia/pytorch:26.03-py3

# libfabric 2.4.0amzn5.0 and aws-ofi-nccl for EFA: EFA's release notes. --enable-ngc is for NVIDIA's images (AWS's page
# "Install the EFA software in a container"): no kernel module, no limits, no look for a device, the base's own NCCL.
ARG EFA_INSTALLER_VERSION=1.49.0
RUN apt-get update \
    && cd /tmp \
    && curl --fail --silent --show-error --location --retry 3 --remote-name \
        https://efa-installer.amazonaws.com/aws-efa-installer-${EFA_INSTALLER_VERSION}.tar.gz \
    && tar -xf aws-efa-installer-${EFA_INSTALLER_VERSION}.tar.gz \
    && cd aws-efa-installer \
    && ./efa_installer.sh -y --enable-ngc \
    && rm -rf /tmp/aws-efa-installer* /var/lib/apt/lists/* \
    && ldconfig

# NCCL falls back to TCP without a word when the loader finds no plugin for it: better that the build fails.
RUN ldconfig -p | grep --quiet 'libnccl-net' && ldconfig -p | grep --quiet 'libfabric.so.1 .*amazon'

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
# VOXELBURST_IMAGE: the version matrix is checked when a container starts (voxelburst/version_matrix.py).
ENV PYTHONPATH=/opt/voxelburst/src \
    VOXELBURST_SCHEMA_DIR=/opt/voxelburst/schema \
    VOXELBURST_IMAGE=gpu \
    PYTHONUNBUFFERED=1

# Batch's job definitions run as this user (lib/stages/stage-job.ts). SageMaker mounts /opt/ml as root and gives a
# training container no other user, so that root stays the image's own.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin voxelburst

# NVIDIA's entry point puts CUDA's compatibility libraries in front where the driver is older than the image (13.0 on
# driver 580). Batch gives `<stage> --task <uri>`, SageMaker `train` or `serve`: each is a command of voxelburst.
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "python", "-m", "voxelburst"]
