#!/bin/bash
# Runs once, as root, when an instance of the fleet starts: its NVMe drives become one fast, empty disk at /scratch.
set -euo pipefail

# /scratch exists in any case: a job without local drives writes to the root volume.
mkdir -p /scratch

# The root volume is NVMe too, but its model is "Amazon Elastic Block Store".
mapfile -t drives < <(lsblk --nodeps --noheadings --output NAME,MODEL | awk '/Instance Storage/ { print "/dev/" $1 }')

case ${#drives[@]} in
  0) disk= ;;
  1) disk=${drives[0]} ;;
  *)
    # The ECS AMI has no mdadm; Amazon Linux's repository is reached through the S3 gateway.
    dnf install --assumeyes --quiet mdadm
    mdadm --create /dev/md/scratch --run --level=0 --raid-devices="${#drives[@]}" "${drives[@]}"
    disk=/dev/md/scratch
    ;;
esac

if [[ -n $disk ]]; then
  mkfs.xfs -f -q "$disk"
  mount -o noatime "$disk" /scratch
fi
# Containers write as whatever user they run as.
chmod 1777 /scratch
