#!/bin/sh
# The generator of docs/page: 12,000 capitals drawn by rule, learned with their letters, in some twenty minutes of one core.
#   sh experiments/page/make.sh [WORK_DIR]
set -e
work=${1:-runs}
limner train procedural:initials:12000 --classes --size 48 --images 260000 --runs "$work" --name capitals \
  --set schedule.name=linear --set schedule.final=0.1 --set generator.width=16 --set discriminator.width=16 \
  --set training.batch_size=16 --set evaluation.share=0.02
limner publish "$work/capitals" --out docs/page --name Capitals --no-webgpu --licence "CC0: do with the pictures what you like"
