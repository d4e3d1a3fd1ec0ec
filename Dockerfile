# syntax=docker/dockerfile:1
#
# The images of the controller and the facade, for people with Docker:
#
#   docker build --build-arg PACKAGE=daap-controller --tag daap-controller .
#
# Their layout is that of the images which tests/cluster writes without Docker: the program, its shared libraries,
# certificate authorities and a user; neither a shell nor a package manager.

ARG PACKAGE=daap-controller

FROM rust:1.95-bookworm AS builder
WORKDIR /workspace
COPY . .
# Caches stay with the builder, so the programs are copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/workspace/target \
    cargo build --locked --release --package daap-controller --package daap-facade \
    && install -D --target-directory=/programs target/release/daap-controller target/release/daap-facade

# The programs are linked with the same libraries, so one root file system serves both.
RUN <<SCRIPT
set -eu
ldd /programs/* | grep --only-matching '/[^ :]*\.so[^ :]*' | sort --unique | while read -r library; do
    install -D "$library" "/root-file-system$library"
done
cd /root-file-system
install -D --mode=0644 /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ca-certificates.crt
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' > etc/passwd
printf 'root:x:0:\nnonroot:x:65532:\n' > etc/group
printf 'hosts: files dns\n' > etc/nsswitch.conf
install --directory --mode=1777 tmp
SCRIPT

FROM scratch AS base
COPY --from=builder /root-file-system /
USER 65532:65532
WORKDIR /

FROM base AS daap-controller
COPY --from=builder /programs/daap-controller /usr/local/bin/daap-controller
ENTRYPOINT ["/usr/local/bin/daap-controller"]

FROM base AS daap-facade
COPY --from=builder /programs/daap-facade /usr/local/bin/daap-facade
ENTRYPOINT ["/usr/local/bin/daap-facade"]

FROM ${PACKAGE}
