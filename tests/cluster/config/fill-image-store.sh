#!/bin/sh
# Fills a directory with what containerd keeps of images: fill-image-store.sh <configuration> <directory> <archive>...
# To be run in mount and process namespaces of its own, so that nothing of it stays but the directory.
set -eu
configuration=$1
directory=$2
shift 2

mount -t tmpfs tmpfs /run
containerd --config "$configuration" --root "$directory" --log-level warn >&2 &
containerd=$!
until ctr version >/dev/null 2>&1; do
    kill -0 "$containerd"
    sleep 0.1
done
for archive in "$@"; do
    ctr --namespace k8s.io images import "$archive" >&2
done
kill "$containerd"
wait "$containerd"
