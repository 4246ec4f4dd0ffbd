#!/usr/bin/env bash
# Validates every experiment against experiments/experiment.schema.json with a linter that knows neither
# the program nor its types: taplo, from PyPI, put into target/ once. A machine that cannot install
# it skips this with a note, but CI (CI=true) fails.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=target/taplo-0.9.3
taplo="$venv/bin/taplo"

cannot() {
    if [ "${CI:-}" = true ]; then
        echo "error: the experiments are not linted: $1" >&2
        exit 1
    fi
    echo "skipped: the experiments are not linted: $1"
    exit 0
}

if [ ! -x "$taplo" ]; then
    command -v python3 >/dev/null || cannot "there is no python3 to install taplo with"
    rm -rf "$venv" # left by an interrupted installation
    python3 -m venv "$venv" >/dev/null 2>&1 || cannot "python3 cannot make a virtual environment"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "taplo==${venv#*-}" 2>"$venv/log" ||
        cannot "taplo cannot be installed (see $venv/log)"
fi

# A suite has no line that leads to the schema, so of it only the TOML is checked.
"$taplo" lint --no-auto-config 'experiments/**/*.toml'

# A linter that found no schema would accept anything: each of these must be refused.
must_be_refused() {
    printf '#:schema ../experiments/experiment.schema.json\n%s\n' "$1" >target/refused.toml
    if said=$("$taplo" lint --no-auto-config target/refused.toml 2>&1) || [[ $said != *"$2"* ]]; then
        echo "error: the linter does not refuse $1" >&2
        exit 1
    fi
    rm target/refused.toml
}
must_be_refused 'finetune.epoch = 3' "'epoch' was unexpected"
must_be_refused 'finetune.epochs = "3"' 'not of type "integer"'
must_be_refused 'sweep."pretrain.epochs" = 3' 'not of type "array"'
must_be_refused 'sweep.random."pretrain.epochs".integer = [1, 3]' "'integer' was unexpected"
must_be_refused 'figures.a.kind = "accuracy"' 'not one of'
