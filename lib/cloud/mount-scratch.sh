#!/bin/bash
# Runs once, as root, when an instance of the fleet starts: its NVMe drives become one fast, empty disk at /scratch.
set -euo pipefail

# /scratch exists in any case: a job without local drives writes to the root volume, as whatever user it runs as.
mkdir -p /scratch
chmod 1777 /scratch

# The root volume is NVMe too, but its model is "Amazon Elastic Block Store".
mapfile -t drives < <(lsblk --nodeps --noheadings --output NAME,MODEL | awk '/Instance Storage/ { print "/dev/" $1 }')

case ${#drives[@]} in
  0) disk= ;;
  1) disk=${drives[0]} ;;
  *)
    # The ECS AMI has no mdadm; Amazon Linux's repository is reached through the S3 gateway.
    if dnf install --assumeyes --quiet mdadm &&
      mdadm --create /dev/md/scratch --run --level=0 --raid-devices="${#drives[@]}" "${drives[@]}"; then
      disk=/dev/md/scratch
    else
      echo "voxelburst: no RAID 0 of ${#drives[@]} drives, /scratch gets the first of them" >&2
      disk=${drives[0]}
    fi
    ;;
esac

if [[ -n $disk ]]; then
  mkfs.xfs -f -q "$disk"
  mount -o noatime "$disk" /scratch
  chmod 1777 /scratch
fi
