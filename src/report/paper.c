/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The paper's published values. Sources: its text and figures, and where a figure has no legible numbers, the data
 * that the authors' public repositories draw it from (EPS files of the graphs, notebooks, result tables of the
 * evaluation). What the notes say was checked against those repositories' code.
 */
#include "report/paper.h"

#include <math.h>

const struct aqm_paper_model aqm_paper_models[AQM_PAPER_BASES] = {
	[AQM_PAPER_LLAMA] = {"Llama-2 7B", "llama", .0469, .0000, .9756, 67108864, 23.92, .0392, 14.42, 22.3},
	[AQM_PAPER_OPT] = {"OPT 1.3B", "opt", .0411, .0134, .8756, 25165824, 7.005, .0411, .2990, 29.9 / 60},
	[AQM_PAPER_GPT2] = {"GPT-2 125M", "gpt2", .1614, .0137, .8756, NAN, 3.569, .0414, .1796, 17.96 / 60},
	[AQM_PAPER_T5] = {"T5 220M", "t5", .0356, .0257, .8692, NAN, 2.321, .0395, .3227, 32.26 / 60},
};

const struct aqm_paper_replay aqm_paper_replays[] = {
	{"DualPI2 as measured", 0, 0, 29.07, 50, 100, 130, 160, .126, .446, NAN},
	{"Llama-2, each 10th packet", 10, 0, .525, NAN, NAN, NAN, NAN, 1.133, 1.115, 3539.0 / 3600},
	{"Llama-2, each 100th packet", 100, 10, 12.76, 20, 30, NAN, 60, .378, .519, .974},
};
const size_t aqm_paper_replay_count = sizeof aqm_paper_replays / sizeof *aqm_paper_replays;

const struct aqm_paper_note aqm_paper_notes[] = {
	{"7, 8", "The loss was logged after its division by 32 windows of accumulation: times 32, OPT's and GPT-2's last "
             "losses are 0.43 nat, which is "
             "the entropy of the class shares."},
	{"7, 8", "0.8756 is the share of the commonest action in the pool (1,506 of 1,720 rows): OPT and GPT-2 learned to "
             "always enqueue. The text says 83 %."},
	{"7, 8", "0.9756 is the most that the published accuracy can reach: it cuts actions that were already scaled to (a "
             "+ 1) / 3 at 0.5 and 1.5, so a mark "
             "never counts as right."},
	{"7, 8", "All accuracies are on training rows, and the evaluation pool covers them too. T5's encoder sees the "
             "actions to predict."},
	{"9-14", "The replay does not let a decision change the queue: for each decision it looks up the logged row of the "
             "nearest length, and goes on from there. "
             "At 10 packets 3,539 of 3,600 rows repeat the row before; at 100, 97.4 % repeat with a period of 200, 28 "
             "rows are distinct. "
             "A low delay only says which row it was stuck on."},
	{"9-14", "At an interval of 100 the median delay is 10 ms, above the original's 0 ms."},
	{"9-14", "'Bandwidth' is not measured but worked out as length * 8 / (1024 * 1034) / (delay + 10 ms), with a typo "
             "for 1024. The 'CDF' of the figures is the running sum "
             "of the sorted values over their sum, a Lorenz curve; ours is the distribution."},
	{"15-18", "For GPT-2 and T5 the paper gives no trainable parameters ('used without parameter reduction'); its "
              "adapters' targets do not exist in GPT-2."},
	{"15-18", "The decision time's clock starts after the forward pass. The text gives OPT's and T5's the other way "
              "round (0.0395 and 0.0411 s)."},
	{"15-18", "Training time: the data are in hours (0.299 h = 17.9 min); the text reads the decimals of OPT, GPT-2 "
              "and T5 as minutes. For Llama-2 the data say 14.42 h, the "
              "text 22.3 h."},
};
const size_t aqm_paper_note_count = sizeof aqm_paper_notes / sizeof *aqm_paper_notes;
