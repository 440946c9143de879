#!/usr/bin/env bash
# Three concatenations, two seeds, 3,000 pairs: accuracy on SNLI dev, and Spearman on STS Benchmark dev beside it.
source "$(dirname "$0")/common.sh"
dev=$data/snli/dev.jsonl.gz
number=0
for concatenation in "u,v" "|u-v|" "u,v,|u-v|"; do
    number=$((number + 1))
    for seed in 0 1; do
        name=ablation-$number-seed$seed
        run "$name" bi-encoder --data "$(captions)" --dev "$dev" --sample 3000 --seed "$seed" --max-length 64 \
            --lr 1e-4 --concatenation "$concatenation"
        echo "$concatenation, seed $seed: $(grep '"accuracy"' "$out/$name/metrics.json")"
        pgsbert evaluate sts "$out/$name" --data "$data/stsb/dev.jsonl"
    done
done
