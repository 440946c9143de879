#!/usr/bin/env bash
# all-MiniLM-L6-v2 on four old collections, through PostgreSQL: exact search, and what the HNSW index loses.
# On the database of PGSBERT_DSN, where a worker runs; without it on an embedded one.
source "$(dirname "$0")/common.sh"
if [ -z "${PGSBERT_DSN:-}" ]; then
    coproc up { exec pgsbert up --database retrieval; }
    server=$up_PID
    trap 'kill "$server" 2>/dev/null && wait "$server" || true' EXIT
    read -r PGSBERT_DSN <&"${up[0]}"
    export PGSBERT_DSN
fi

# judge NAME COLLECTION OPTIONS...
judge() {
    local name=$1 collection=$2
    shift 2
    [ -e "$out/$name.txt" ] || {
        pgsbert evaluate retrieval all-MiniLM-L6-v2 --data "$data/$collection" --through-database "$@" >"$out/$name.part"
        mv "$out/$name.part" "$out/$name.txt"
    }
    echo "$name"
    cat "$out/$name.txt"
}

for collection in adi med cisi cranfield; do
    judge "$collection" "$collection"
done
# the questions of cranfield came with papers, which are in it: each is left out of its own question's ranking
judge cranfield-without-sources cranfield --exclude "$data/cranfield/qrels/source_docs.tsv"
