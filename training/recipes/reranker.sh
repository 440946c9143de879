#!/usr/bin/env bash
# A reranker from what may be redistributed: does it order answers better than the bi-encoder it was made of?
source "$(dirname "$0")/common.sh"
pairs=$out/relevance.jsonl
[ -s "$pairs" ] || python "$(dirname "$0")/relevance.py" "$data" >"$pairs"
run reranker cross-encoder --objective bce --data "$pairs" --sample 2000 --negatives 2 --seed 0 --max-length 128 --lr 1e-4
for candidates in wikiqa trecqa; do
    pgsbert evaluate rerank all-MiniLM-L6-v2 "$out/reranker" --data "$data/$candidates"
done
