# shellcheck shell=bash
# engine.sh: a container engine in a machine, and an image for it. Sourced after lib.sh and check.sh.

# open_engine: Podman answers at its socket, without any container; image localhost/shop:1 has a shell and 'sleep'. In a
# container of its own an engine has neither control groups nor a network to give.
open_engine() {
  # shellcheck disable=SC2016 # expands in the machine
  root 'set -e
    mkdir -p /etc/containers
    printf "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"/var/lib/containers/storage\"\n" >/etc/containers/storage.conf
    printf "[containers]\ncgroups = \"disabled\"\nnetns = \"none\"\ndefault_sysctls = []\nlog_driver = \"k8s-file\"\nkeyring = false\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n" >/etc/containers/containers.conf
    rm -rf /var/lib/containers/storage; systemctl stop podman.service 2>/dev/null; systemctl start podman.socket
    image=$(mktemp -d); cp --parents /bin/sleep /bin/sh $(ldd /bin/sleep /bin/sh | grep -o "/lib[^ ]*" | sort -u) "$image"
    tar -C "$image" -c . | podman import -q - shop:1 >/dev/null; rm -rf "$image"'
}

# close_engine: all its containers, the image and the settings are gone.
close_engine() {
  root 'podman rm -fa -t 0; podman rmi -f localhost/shop:1
    rm -rf /etc/containers/containers.conf /etc/containers/storage.conf /var/lib/containers/storage' >/dev/null 2>&1 || true
}
