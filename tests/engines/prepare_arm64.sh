#!/usr/bin/env bash
# A 64-bit Arm Python with ONNX Runtime on an x86 Linux of Debian's kind, by user-mode emulation: it tells whether logits are
# the same bits there. It is slow, and says nothing about speed.
#   usage: prepare_arm64.sh FOLDER      makes FOLDER/python, which is run like a Python
# qemu 7.2 crashes when it imports onnxruntime 1.32; 1.23.2 runs. Everything comes from Debian and the Python index.
set -euo pipefail
folder=$(mkdir -p "${1:?usage: prepare_arm64.sh FOLDER}" && cd "$1" && pwd)
sudo=$([ "$(id -u)" = 0 ] || echo sudo)

$sudo dpkg --add-architecture arm64
$sudo apt-get update -qq
command -v qemu-aarch64-static >/dev/null || $sudo apt-get install -y -qq qemu-user-static >/dev/null
mkdir -p "$folder/debs" "$folder/root" "$folder/wheels" "$folder/site"
python=$(apt-cache depends python3-minimal:arm64 | grep -oE 'python3\.[0-9]+-minimal' | head -1)
python=${python%-minimal}
(cd "$folder/debs" && apt-get download -qq \
  {libc6,libgcc-s1,libstdc++6,zlib1g,libexpat1,libffi8,libssl3,liblzma5,libbz2-1.0,libsqlite3-0,libcrypt1}:arm64 \
  {"$python"-minimal,lib"$python"-minimal,lib"$python"-stdlib}:arm64 2>/dev/null)
for package in "$folder"/debs/*.deb; do dpkg -x "$package" "$folder/root"; done

platforms=(--platform manylinux2014_aarch64)
for glibc in 2_17 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${glibc}_aarch64"); done
python3 -m pip --disable-pip-version-check -q download --no-deps --only-binary=:all: --implementation cp \
  --python-version "${python#python}" "${platforms[@]}" -d "$folder/wheels" onnxruntime==1.23.2 'numpy<2.5'
for wheel in "$folder"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$folder/site"; done

cat > "$folder/python.new" <<P
#!/bin/sh
exec qemu-aarch64-static -cpu max -L "$folder/root" -E PYTHONPATH="$folder/site" -E PYTHONDONTWRITEBYTECODE=1 \\
  -E OMP_NUM_THREADS=1 "$folder/root/usr/bin/$python" "\$@"
P
chmod +x "$folder/python.new"
"$folder/python.new" -c "import onnxruntime" 2>/dev/null
mv "$folder/python.new" "$folder/python"
