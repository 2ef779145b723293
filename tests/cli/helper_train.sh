# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the tests of train, after helper.sh.

# A made-up pool in which the action follows from the delay, split in two; a tiny base; a configuration.
make_inputs() {
	awk 'BEGIN {
		srand(3)
		print "queue_type,burst_allowance,drop_prob,current_qdelay,accu_prob,len_bytes,pkt_len,action"
		delay = 15000
		for (i = 0; i < 400; i++) {
			delay = 15000 + 0.8 * (delay - 15000) + (rand() - 0.5) * 14000
			if (delay < 0) delay = -delay
			action = delay > 20000 ? 1 : delay > 12000 ? 2 : 0
			printf "0,15000,%d,%d,%d,%d,%d,%d\n", delay * 20000, delay, i * delay, delay * 12.5, rand() < 0.3 ? 60 : 1500, action
		}
	}' >pool.csv
	"$program" pool import pool.csv -o pool.h5
	"$program" pool split pool.h5 --train train.h5 --eval eval.h5 --fraction 0.7
	"$program" model synth --preset tiny-llama --seed 1 -o base.gguf
	cat >tiny.yaml <<'YAML'
seed: 3
threads: 1
model:
  path: base.gguf
pool:
  train: train.h5
  eval: eval.h5
policy:
  window: 8
  features: [queue_type, burst_allowance, drop_prob, current_qdelay, accu_prob, len_bytes, pkt_len]
  encoder_width: 16
reward:
  horizon: 20
lora:
  rank: 4
  alpha: 8
train:
  epochs: 3
  windows: 8
  lr: 0.002
YAML
}
