# Shared by the `setup` scripts of the peers: stamps, and a protoc from PyPI. Sourced, not run.
#
# A set-up is skipped when `.stamp` holds the hash of its manifest files, so that a test runner may
# call it before every run.

PEERS="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# The protoc of the JavaScript peers; their SDKs would download one from a release page instead.
GRPCIO_TOOLS_VERSION=1.62.3

say() { printf '%s: %s\n' "$(basename "$PWD")" "$*" >&2; }

# manifest_hash FILE…: one hash over names and contents.
manifest_hash() {
  python3 - "$@" <<'PY'
import hashlib, sys
digest = hashlib.sha256()
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        content = file.read()
    digest.update(f"{name}\0{len(content)}\0".encode() + content)
print(digest.hexdigest())
PY
}

# begin_setup FILE…: exits when the stamp matches, otherwise takes the folder's lock.
begin_setup() {
  SETUP_HASH="$(manifest_hash "$PEERS/lib/setup.sh" "$@")"
  if [ "$(cat .stamp 2>/dev/null)" = "$SETUP_HASH" ]; then say "up to date"; exit 0; fi
  take_lock .lock
  if [ "$(cat .stamp 2>/dev/null)" = "$SETUP_HASH" ]; then say "up to date"; exit 0; fi
  rm -f .stamp
  SETUP_START=$SECONDS
}

end_setup() {
  printf '%s\n' "$SETUP_HASH" >.stamp
  say "ready after $((SECONDS - SETUP_START)) s"
}

# Waits for other set-ups; gives up after ten minutes, because a killed one leaves its lock behind.
take_lock() {
  local waited=0
  until mkdir "$1" 2>/dev/null; do
    if [ "$waited" -ge 600 ]; then say "remove the stale lock $1"; exit 1; fi
    [ "$waited" -eq 0 ] && say "waiting for $1"
    sleep 1; waited=$((waited + 1))
  done
  LOCKS="${LOCKS:-} $1"
  trap 'rmdir $LOCKS 2>/dev/null || true' EXIT
}

# The venv with grpcio-tools that all JavaScript peers share.
ensure_protoc() {
  local venv="$PEERS/.tools/protoc"
  if [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$GRPCIO_TOOLS_VERSION" ]; then return; fi
  mkdir -p "$PEERS/.tools"
  take_lock "$PEERS/.tools/protoc.lock"
  if [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$GRPCIO_TOOLS_VERSION" ]; then
    say "installing grpcio-tools $GRPCIO_TOOLS_VERSION for protoc"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
      "grpcio-tools==$GRPCIO_TOOLS_VERSION" "setuptools<81"
    printf '%s\n' "$GRPCIO_TOOLS_VERSION" >"$venv/.stamp"
  fi
  rmdir "$PEERS/.tools/protoc.lock"
}

# install_protoc DIR: gives the SDK installed in DIR the protoc it expects in DIR/protoc.
install_protoc() {
  ensure_protoc
  local python="$PEERS/.tools/protoc/bin/python" include
  include="$("$python" -c 'import grpc_tools, os; print(os.path.join(os.path.dirname(grpc_tools.__file__), "_proto"))' 2>/dev/null)"
  mkdir -p "$1/protoc/bin"
  ln -sfn "$include" "$1/protoc/include"
  printf '#!/bin/sh\nexec "%s" -W ignore -m grpc_tools.protoc "$@"\n' "$python" >"$1/protoc/bin/protoc"
  chmod +x "$1/protoc/bin/protoc"
}

# Installs what package-lock.json says, unless it is there.
npm_install() {
  local hash
  hash="$(manifest_hash package.json package-lock.json)"
  if [ "$(cat node_modules/.stamp 2>/dev/null)" = "$hash" ]; then return; fi
  say "npm ci"
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  printf '%s\n' "$hash" >node_modules/.stamp
}

# Makes .venv with exactly the packages of requirements.txt.
python_install() {
  local hash
  hash="$(manifest_hash requirements.txt)"
  if [ "$(cat .venv/.stamp 2>/dev/null)" = "$hash" ]; then return; fi
  say "pip install"
  rm -rf .venv
  "${PYTHON:-python3}" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
  printf '%s\n' "$hash" >.venv/.stamp
}

# python_protoc ARG…: Python code for protos/*.proto into generated/.
python_protoc() {
  ensure_protoc
  local python="$PEERS/.tools/protoc/bin/python" include site
  include="$("$python" -W ignore -c 'import grpc_tools, os; print(os.path.join(os.path.dirname(grpc_tools.__file__), "_proto"))')"
  site="$(.venv/bin/python -c 'import google.api, os; print(os.path.dirname(os.path.dirname(list(google.api.__path__)[0])))')"
  "$python" -W ignore -m grpc_tools.protoc "$@" --proto_path=protos --proto_path="$site" --proto_path="$include" \
    --python_out=generated protos/*.proto
}

# python_descriptors MODULE: the descriptor set of the generated MODULE in .venv, with all it imports.
python_descriptors() {
  .venv/bin/python - "$1" <<'PY'
import importlib, sys
from google.protobuf.descriptor_pb2 import FileDescriptorSet

files = FileDescriptorSet()
seen = set()

def add(descriptor):
    if descriptor.name in seen:
        return
    seen.add(descriptor.name)
    for dependency in descriptor.dependencies:
        add(dependency)
    descriptor.CopyToProto(files.file.add())

add(importlib.import_module(sys.argv[1]).DESCRIPTOR)
sys.stdout.buffer.write(files.SerializeToString())
PY
}

# target/classes and target/lib from pom.xml, and target/check from check/ and lib/java.
maven_build() {
  say "mvn compile"
  mvn -B -q -ntp -Dmaven.repo.local=.m2 compile dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory=target/lib
  mkdir -p target/check
  javac -d target/check -cp "target/classes:target/lib/*" "$PEERS"/lib/java/*.java check/*.java
}
