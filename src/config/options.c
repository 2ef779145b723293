/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/option.h"

#include <string.h>

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define AT(field) offsetof(struct aqm_config, field)

/* clang-format off */
#define BOOL(name, field, initial, help) \
	{name, AQM_OPTION_BOOL, AT(field), initial, 0, 0, NULL, help, NULL}
#define INT(name, field, initial, low, high, help) \
	{name, AQM_OPTION_INT, AT(field), initial, low, high, NULL, help, NULL}
#define SEED(name, field, initial, help) \
	{name, AQM_OPTION_SEED, AT(field), initial, 0, 0, NULL, help, NULL}
#define NUMBER(name, field, initial, low, high, help) \
	{name, AQM_OPTION_NUMBER, AT(field), initial, low, high, NULL, help, NULL}
#define STRING(name, field, initial, help) \
	{name, AQM_OPTION_STRING, AT(field), initial, 0, 0, NULL, help, NULL}
#define STRINGS(name, field, initial, words, help) \
	{name, AQM_OPTION_STRINGS, AT(field), initial, 0, 0, words, help, NULL}
#define WORD(name, field, initial, words, help) \
	{name, AQM_OPTION_WORD, AT(field), initial, 0, 0, words, help, NULL}
/* once: words of former versions, by the same numbers. */
#define WORD_ONCE(name, field, initial, words, once, help) \
	{name, AQM_OPTION_WORD, AT(field), initial, 0, 0, words, help, once}
#define WEIGHTS(name, field, initial, words, help) \
	{name, AQM_OPTION_WEIGHTS, AT(field), initial, 0, 1e9, words, help, NULL}

/* Words stand in the order of their enum. Options of a section stand together. */
const struct aqm_option aqm_options[] = {
	SEED("seed", seed, "1", "seed of initialisation, window sampling and dropout"),
	INT("threads", threads, "0", 0, 4096, "threads; 0 = all cores"),
	WORD("device", device, "cpu", WORDS("cpu", "cuda", "auto"), "where to compute; auto = cuda where there is one"),
	WORD("dtype", dtype, "auto", WORDS("auto", "f32", "bf16"),
	     "of activations; auto = bf16 on a GPU, f32 on the CPU, which has no other"),
	WORD("control", control, "packet", WORDS("packet", "update"),
	     "decide each packet's action, or once an update interval the controller's next drop probability p'"),

	STRING("model.path", model.path, "''", "base model, a GGUF file"),
	INT("model.stop_layer", model.stop_layer, "0", 0, 10000, "leave the transformer after this many layers; 0 = all"),
	BOOL("model.causal", model.causal, "true",
	     "no position sees the future; false: t5's encoder sees the whole window, as published (labels leak)"),

	STRING("pool.train", pool.train, "''", "experience pool to train on"),
	STRING("pool.eval", pool.eval, "''", "held-out pool that picks the best checkpoint; may be empty"),
	WORD("pool.labels", pool.labels, "effective", WORDS("effective", "logged"),
	     "actions that happened, or as logged (with phantom drops)"),

	WORD("reward.kind", reward.kind, "power", WORDS("power", "tradeoff", "utility"),
	     "power = pkt_len / (qdelay + c); tradeoff = pkt_len / 1500 - delay_weight * qdelay; utility = utility_rank, how its whole "
	     "episode ranks among others under the same conditions (sim --collect --control update), with gamma 0"),
	WORD("reward.unit", reward.unit, "ms", WORDS("us", "ms", "s"), "unit of qdelay and c in the reward"),
	NUMBER("reward.c", reward.c, "1", 1e-9, 1e9, "c of the power reward"),
	NUMBER("reward.delay_weight", reward.delay_weight, "0.1", 0, 1e9, "weight of a unit of delay in the tradeoff reward"),
	NUMBER("reward.gamma", reward.gamma, "0.99", 0, 1, "discount of a reward one row later"),
	INT("reward.horizon", reward.horizon, "100", 0, 1e9, "rewards in a return-to-go; 0 = to the end of the episode"),
	WORD("reward.horizon_unit", reward.horizon_unit, "rows", WORDS("rows", "ms"), "unit of the horizon"),
	WORD_ONCE("reward.normalise", reward.normalise, "standard", WORDS("none", "standard", "min-max"), WORDS("false", "true"),
	          "standard = standardise returns on the training rows; min-max = rewards between 0 and 1 before they are summed up "
	          "(the paper's)"),
	NUMBER("reward.scale", reward.scale, "1", 1e-9, 1e12,
	       "returns that are not standardised are divided by this (the paper's code: 1000)"),

	INT("policy.window", policy.window, "20", 1, 4096, "steps w in a window"),
	STRINGS("policy.features", policy.features,
	        "[queue_type, burst_allowance, drop_prob, current_qdelay, accu_prob, len_bytes, drops, pkt_len]", NULL,
	        "record fields that make up a state, in order"),
	STRINGS("policy.sequences", policy.sequences, "[current_qdelay, len_bytes]", NULL,
	        "those features that Conv1d reads over their last `kernel` values"),
	INT("policy.encoder_width", policy.encoder_width, "256", 1, 65536, "width e of a feature's encoder"),
	INT("policy.kernel", policy.kernel, "4", 1, 64, "kernel k of the Conv1d encoders"),
	WORD("policy.action_embedding", policy.action_embedding, "embedding", WORDS("embedding", "linear"),
	     "a vector an action, or Linear of (action + 1) / 3 (the paper's)"),
	WORD("policy.time_embedding", policy.time_embedding, "window", WORDS("window", "episode"),
	     "a vector for each step of a window, or for each row of the longest training episode (the paper's)"),
	WORD("policy.normaliser", policy.normaliser, "log-standard", WORDS("none", "standard", "log-standard", "both"),
	     "what is done to a feature before its encoder; both = the standard and the log-standard value, side by side"),
	BOOL("policy.residual", policy.residual, "true", "add a token's input to its hidden state before the head"),
	INT("policy.bins", policy.bins, "0", 0, AQM_BINS_MAX,
	    "control: update: cross-entropy over this many bins of the change of log p'; 0 = squared error"),
	WORD("policy.level", policy.level, "log", WORDS("log", "linear"),
	     "control: update: p' is told and changed on a logarithmic scale, or as it is, in which controllers reckon"),
	WORD("policy.change_from", policy.from, "now", WORDS("now", "rule"),
	     "control: update: what the head gives is the change from the p' in force, or from the one that the rules would set next "
	     "(pools of sim --collect --utility know it): then a policy corrects its host"),

	INT("lora.rank", lora.rank, "128", 0, 65536, "rank of the adapters; 0 = full fine-tuning"),
	NUMBER("lora.alpha", lora.alpha, "32", 0, 1e6, "adapters are scaled by alpha / rank"),
	NUMBER("lora.dropout", lora.dropout, "0.05", 0, 0.99, "dropout on an adapter's input"),
	BOOL("lora.rslora", lora.rslora, "false", "scale by alpha / sqrt(rank) instead"),
	STRINGS("lora.targets", lora.targets, "[q, v]", WORDS("q", "k", "v", "o", "gate", "up", "down"),
	        "linears that get an adapter"),

	INT("train.epochs", train.epochs, "80", 1, 1e9, "epochs"),
	INT("train.windows", train.windows, "32", 1, 65536, "windows B in a step"),
	INT("train.windows_per_epoch", train.windows_per_epoch, "0", 0, 1e12, "windows in an epoch; 0 = rows / window"),
	WORD("train.sampler", train.sampler, "uniform", WORDS("uniform", "transitions", "balanced", "tiles"),
	     "windows over all rows, around changes of action, with classes equally likely, or the same whole windows side by "
	     "side in each epoch (the paper's)"),
	WEIGHTS("train.class_weights", train.class_weights, "none", WORDS("none", "balanced"),
	        "weights of enqueue, drop and mark in the loss"),
	NUMBER("train.lr", train.lr, "0.0001", 0, 10, "learning rate of AdamW"),
	NUMBER("train.weight_decay", train.weight_decay, "0.0001", 0, 10, "decoupled weight decay, on matrices"),
	NUMBER("train.beta1", train.beta1, "0.9", 0, 0.999999, "AdamW's beta1"),
	NUMBER("train.beta2", train.beta2, "0.999", 0, 0.999999, "AdamW's beta2"),
	NUMBER("train.epsilon", train.epsilon, "1e-8", 1e-30, 1, "AdamW's epsilon"),
	NUMBER("train.clip", train.clip, "0.25", 0, 1e9, "largest global norm of the gradient; 0 = off"),
	BOOL("train.clip_each", train.clip_each, "false",
	     "take the windows of a step one by one and clip the sum of their gradients after each (the paper's)"),
	NUMBER("train.warmup", train.warmup, "0.05", 0, 1e9,
	       "warm-up: below 1 a fraction of all steps, else a number of steps"),
	WORD("train.schedule", train.schedule, "cosine", WORDS("constant", "linear", "cosine"),
	     "learning rate after the warm-up"),
	NUMBER("train.lr_min", train.lr_min, "0.1", 0, 1, "where linear and cosine end, as a fraction of lr"),
	WORD("train.best", train.best, "auto", WORDS("auto", "macro_f1", "loss", "accuracy", "within", "last"),
	     "held-out figure that picks the best checkpoint; auto = macro_f1 of actions, loss of updates; within = share of "
	     "updates within 10 % of p'; last = the last epoch, whatever it is (the paper's)"),
	INT("train.eval_every", train.eval_every, "1", 0, 1e9, "epochs between evaluations; 0 = only at the end"),
	INT("train.checkpoint_every", train.checkpoint_every, "0", 0, 1e9, "steps between checkpoints; 0 = once an epoch"),
	INT("train.keep_checkpoints", train.keep_checkpoints, "2", 1, 1000, "checkpoints kept"),
	BOOL("train.checkpoint_activations", train.checkpoint_activations, "false",
	     "keep only each block's input and run the block again in backward: a third more time, a fraction of the memory"),

	NUMBER("decide.target_quantile", decide.target_quantile, "0.9", 0, 1, "quantile of the training returns to aim for"),
	NUMBER("decide.target_factor", decide.target_factor, "1", 0, 1000, "factor on that return"),
	WORD("decide.arithmetic", decide.arithmetic, "float32", WORDS("float32", "int8"),
	     "of decisions: exact; or, on a quantised or bf16 base, faster with the inputs of linears rounded to 8 bits"),
	BOOL("decide.sample", decide.sample, "false", "draw the action from its distribution instead of taking the likeliest"),

	STRING("distill.teacher", distill.teacher, "''", "run or policy that the student learns from"),
	WORD("distill.returns", distill.returns, "target", WORDS("target", "logged"),
	     "returns that the teacher is told: its target, as when it decides, or those of the rows"),
	WORD("distill.student", distill.student, "network", WORDS("network", "tree"),
	     "network of 8-bit weights, or decision tree"),
	STRINGS("distill.features", distill.features, "[]", NULL, "fields that the student reads; none = the teacher's"),
	STRINGS("distill.counters", distill.counters, "[tot_pkts, tot_bytes, drops, measurement_start, dq_count]", NULL,
	        "those of them that it reads as the difference from the decision before"),
	STRINGS("distill.sequences", distill.sequences, "[]", NULL,
	        "those that it reads with their past; none = the teacher's"),
	INT("distill.history", distill.history, "4", 1, 8, "values of a sequence, with the present one"),
	INT("distill.units", distill.units, "2", 1, 8, "network: numbers that each input is encoded in"),
	INT("distill.hidden", distill.hidden, "8", 1, 64, "network: width of the dense layer"),
	WORD("distill.activation", distill.activation, "leaky-relu", WORDS("relu", "leaky-relu"), "network: activation"),
	INT("distill.depth", distill.depth, "10", 1, 16, "tree: comparisons at most"),
	INT("distill.nodes", distill.nodes, "255", 1, 8191, "tree: nodes at most"),
	INT("distill.epochs", distill.epochs, "200", 1, 1e6, "network: epochs"),
	INT("distill.batch", distill.batch, "64", 2, 4096, "network: rows in a step"),
	NUMBER("distill.lr", distill.lr, "0.004", 0, 10, "network: learning rate of AdamW"),
	NUMBER("distill.weight_decay", distill.weight_decay, "0.0001", 0, 10, "network: decoupled weight decay, on weights"),
	NUMBER("distill.temperature", distill.temperature, "2", 0.01, 1000,
	       "network: of the softmax of teacher and student whose divergence is minimised"),
	NUMBER("distill.label_weight", distill.label_weight, "0.1", 0, 1,
	       "network: weight of the cross-entropy of the pool's labels; the rest is the divergence's"),
	NUMBER("distill.correlation", distill.correlation, "0", 0, 1e6,
	       "network: weight of the squared difference of how alike the rows of a batch are to teacher and student"),
	WORD("distill.class_weights", distill.class_weights, "none", WORDS("none", "balanced"),
	     "weights of the teacher's actions in the loss"),
	INT("distill.rounds", distill.rounds, "0", 0, 1000,
	    "rounds in the simulator: the student acts, the teacher labels what it met, the student learns from that too"),
	STRINGS("distill.scenarios", distill.scenarios, "[]", NULL, "files of scenarios for these rounds, and for the utility of a sweep"),
	NUMBER("distill.seconds", distill.seconds, "10", 0.1, 1e6, "simulated time of each"),
	STRING("distill.host", distill.host, "freebsd-l4s", "queue discipline in which the student decides there"),
	STRING("distill.utility", distill.utility, "balanced", "utility of these runs"),
	STRING("distill.cache", distill.cache, "''", "folder of the teacher's answers; none = logits/ beside the teacher"),
};
/* clang-format on */

const size_t aqm_option_count = sizeof aqm_options / sizeof *aqm_options;

const struct aqm_option *aqm_option_find(const char *name)
{
	for (size_t i = 0; i < aqm_option_count; i++)
		if (strcmp(aqm_options[i].name, name) == 0)
			return &aqm_options[i];
	return NULL;
}

const struct aqm_option *aqm_option_section(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < aqm_option_count; i++)
		if (strncmp(aqm_options[i].name, name, n) == 0 && aqm_options[i].name[n] == '.')
			return &aqm_options[i];
	return NULL;
}

const char *aqm_option_whole_name(const char *name)
{
	const char *found = NULL;

	if (aqm_option_find(name) || aqm_option_section(name))
		return name;
	for (size_t i = 0; i < aqm_option_count; i++) {
		const char *dot = strchr(aqm_options[i].name, '.');

		if (!dot || strcmp(dot + 1, name) != 0)
			continue;
		if (found && strncmp(aqm_options[i].name, "distill.", 8) == 0)
			continue; /* they are the last rows */
		if (found)
			return name;
		found = aqm_options[i].name;
	}
	return found ? found : name;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Levenshtein distance of two words of at most LONGEST letters. */
enum { LONGEST = 48 };

static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t row[LONGEST + 1];

	for (size_t j = 0; j <= b_length; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = smaller(replaced, smaller(row[j], row[j - 1]) + 1);
		}
	}
	return row[b_length];
}

const char *aqm_option_nearest(const char *name)
{
	size_t length = strlen(name), best = SIZE_MAX;
	const char *nearest = NULL;

	if (length > LONGEST)
		return NULL;
	for (size_t i = 0; i < aqm_option_count; i++) {
		const char *whole = aqm_options[i].name, *dot = strrchr(whole, '.');
		size_t d = distance(name, length, whole, strlen(whole));

		if (dot) /* the section may have been left out: "rank" */
			d = smaller(d, distance(name, length, dot + 1, strlen(dot + 1)));
		if (d < best) {
			best = d;
			nearest = whole;
		}
	}
	return best <= 1 + length / 4 && best < length ? nearest : NULL; /* else no letter of it is right */
}
