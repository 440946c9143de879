# What the recipes share: `run NAME KIND OPTIONS...` trains once, and goes on with what was begun.
set -euo pipefail
data=${1:?the folder of the data} out=${2:?a folder for what comes out}
mkdir -p "$out"

run() {
    local name=$1 kind=$2 resume=()
    shift 2
    [ -e "$out/$name/metrics.json" ] && return
    [ -e "$out/$name.checkpoints/run.json" ] && resume=(--resume)
    pgsbert train "$kind" --out "$out/$name" --base all-MiniLM-L6-v2 --batch-size 16 "$@" "${resume[@]}"
}

# those pairs of the mixture, all written by people, whose premises are captions of pictures, as SNLI's are
captions() {
    [ -s "$out/captions.jsonl" ] || {
        gzip -dc "$data/nli_train_mix/train.jsonl.gz" |
            grep -E '"source": "(sick|cad_original|cad_revised)"' >"$out/captions.part"
        mv "$out/captions.part" "$out/captions.jsonl"
    }
    echo "$out/captions.jsonl"
}
