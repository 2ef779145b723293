/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A decision tree: CART (Breiman, Friedman, Olshen, Stone 1984) with the Gini impurity, the baseline that a policy
 * has to beat.
 *
 * Each feature's rows are sorted once. The tree then grows a level at a time: one walk over a feature's sorted rows,
 * with running class counts a node, finds that feature's best split of every node of the level, so a level costs
 * O(features * rows).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/eval.h"
#include "base/size.h"

struct node {
	size_t counts[AQM_ACTIONS]; /* training rows by class */
	double threshold;           /* x[feature] <= threshold goes to `left`, else to left + 1 */
	uint32_t feature;
	uint32_t left; /* 0: a leaf */
	uint8_t label; /* the commonest class; the first of equals */
};

struct aqm_tree {
	struct node *nodes; /* the root first, then level by level */
	size_t count, capacity;
};

/* The best split of one node by one feature. */
struct split {
	double score; /* sum over both sides of (sum of squared class counts) / rows: larger is purer; negative: none */
	double threshold;
	size_t left[AQM_ACTIONS];
};

/* A node's state during the walk over one feature. */
struct walk {
	size_t left[AQM_ACTIONS];
	size_t rows;
	double value; /* of the last row */
};

struct fit {
	size_t features, rows;
	const double *const *columns;
	const uint8_t *labels;
	uint32_t *order;      /* (features, rows): row numbers by value, then by number */
	uint32_t *node_of;    /* (rows) */
	struct split *splits; /* (features, nodes of the level) */
	struct walk *walks;   /* likewise */
};

/* ---- sorting ---- */

static int compare_rows(const void *a, const void *b, void *column)
{
	const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	const double *x = column;

	if (x[i] != x[j])
		return x[i] < x[j] ? -1 : 1;
	return i < j ? -1 : i > j;
}

static int sort_features(struct fit *fit)
{
	for (size_t f = 0; f < fit->features; f++)
		for (size_t i = 0; i < fit->rows; i++)
			if (!isfinite(fit->columns[f][i]))
				return aqm_error_set(AQM_EDATA, "decision tree: feature %zu of row %zu is not a finite number", f, i);
#pragma omp parallel for schedule(dynamic)
	for (size_t f = 0; f < fit->features; f++) {
		uint32_t *order = fit->order + f * fit->rows;

		for (size_t i = 0; i < fit->rows; i++)
			order[i] = (uint32_t)i;
		qsort_r(order, fit->rows, sizeof *order, compare_rows, (void *)(uintptr_t)fit->columns[f]);
	}
	return AQM_OK;
}

/* ---- splitting ---- */

static size_t total(const size_t counts[AQM_ACTIONS])
{
	return counts[AQM_ENQUEUE] + counts[AQM_DROP] + counts[AQM_MARK];
}

static bool is_pure(const struct node *node)
{
	size_t rows = total(node->counts);

	for (int c = 0; c < AQM_ACTIONS; c++)
		if (node->counts[c] == rows)
			return true;
	return false;
}

/* Minimising the children's mean Gini impurity is maximising this. */
static double split_score(const size_t all[AQM_ACTIONS], const size_t left[AQM_ACTIONS])
{
	double left_squares = 0, right_squares = 0, left_rows = 0, right_rows = 0;

	for (int c = 0; c < AQM_ACTIONS; c++) {
		const double l = (double)left[c], r = (double)(all[c] - left[c]);

		left_squares += l * l;
		right_squares += r * r;
		left_rows += l;
		right_rows += r;
	}
	return left_squares / left_rows + right_squares / right_rows;
}

/* Halfway between neighbours a < b; never b itself, which must go right. */
static double midpoint(double a, double b)
{
	const double m = a / 2 + b / 2;

	return m < b ? m : a;
}

/* The best split by feature f of each of the level's nodes [first, last). Ascending values and a strict comparison:
 * of equal splits the lowest threshold stays. */
static void search_feature(const struct fit *fit, const aqm_tree *tree, size_t first, size_t last, size_t f)
{
	const size_t width = last - first;
	struct split *splits = fit->splits + f * width;
	struct walk *walks = fit->walks + f * width;
	const uint32_t *order = fit->order + f * fit->rows;
	const double *column = fit->columns[f];

	memset(walks, 0, width * sizeof *walks);
	for (size_t n = 0; n < width; n++)
		splits[n] = (struct split){.score = -1};
	for (size_t i = 0; i < fit->rows; i++) {
		const uint32_t row = order[i];

		if (fit->node_of[row] < first)
			continue; /* in a leaf of an earlier level */
		const size_t n = fit->node_of[row] - first;
		struct walk *walk = &walks[n];
		const double value = column[row];

		if (walk->rows > 0 && value > walk->value) {
			const double score = split_score(tree->nodes[first + n].counts, walk->left);

			if (score > splits[n].score) {
				splits[n].score = score;
				splits[n].threshold = midpoint(walk->value, value);
				memcpy(splits[n].left, walk->left, sizeof walk->left);
			}
		}
		walk->left[fit->labels[row]]++;
		walk->rows++;
		walk->value = value;
	}
}

static uint8_t commonest(const size_t counts[AQM_ACTIONS])
{
	uint8_t best = 0;

	for (uint8_t c = 1; c < AQM_ACTIONS; c++)
		if (counts[c] > counts[best])
			best = c;
	return best;
}

static int add_node(aqm_tree *tree, const size_t counts[AQM_ACTIONS])
{
	if (tree->count == tree->capacity) {
		const size_t capacity = tree->capacity ? 2 * tree->capacity : 64;
		struct node *grown = aqm_realloc_array(tree->nodes, capacity, sizeof *grown);

		if (!grown)
			return AQM_ERUN;
		tree->nodes = grown;
		tree->capacity = capacity;
	}
	struct node *node = &tree->nodes[tree->count++];

	*node = (struct node){.label = commonest(counts)};
	memcpy(node->counts, counts, sizeof node->counts);
	return AQM_OK;
}

/* Turn the node into an inner one by its best split over all features, if it has any. Of equal splits the lowest
 * feature stays. As scikit-learn does, a split that gains nothing is taken too: what lies below it may gain
 * (exclusive or). */
static int split_node(const struct fit *fit, aqm_tree *tree, size_t node, size_t first, size_t width)
{
	const struct split *best = NULL;
	uint32_t feature = 0;
	size_t right[AQM_ACTIONS];

	for (size_t f = 0; f < fit->features; f++) {
		const struct split *split = &fit->splits[f * width + (node - first)];

		if (split->score >= 0 && (!best || split->score > best->score)) {
			best = split;
			feature = (uint32_t)f;
		}
	}
	if (!best || is_pure(&tree->nodes[node]))
		return AQM_OK;
	for (int c = 0; c < AQM_ACTIONS; c++)
		right[c] = tree->nodes[node].counts[c] - best->left[c];
	tree->nodes[node].feature = feature;
	tree->nodes[node].threshold = best->threshold;
	tree->nodes[node].left = (uint32_t)tree->count;
	if (add_node(tree, best->left) != AQM_OK || add_node(tree, right) != AQM_OK)
		return AQM_ERUN;
	return AQM_OK;
}

static size_t child(const struct node *node, double value)
{
	return node->left + (value <= node->threshold ? 0 : 1);
}

/* Split the nodes [first, last), the deepest level, and send their rows down. */
static int grow_level(struct fit *fit, aqm_tree *tree, size_t first, size_t last)
{
	const size_t width = last - first;
	struct split *splits = aqm_realloc_array(fit->splits, fit->features * width, sizeof *splits);

	if (!splits)
		return AQM_ERUN;
	fit->splits = splits;
	struct walk *walks = aqm_realloc_array(fit->walks, fit->features * width, sizeof *walks);

	if (!walks)
		return AQM_ERUN;
	fit->walks = walks;
#pragma omp parallel for schedule(dynamic)
	for (size_t f = 0; f < fit->features; f++)
		search_feature(fit, tree, first, last, f);
	for (size_t n = first; n < last; n++)
		if (split_node(fit, tree, n, first, width) != AQM_OK)
			return AQM_ERUN;
	for (size_t i = 0; i < fit->rows; i++) {
		const struct node *node = &tree->nodes[fit->node_of[i]];

		if (fit->node_of[i] >= first && node->left)
			fit->node_of[i] = (uint32_t)child(node, fit->columns[node->feature][i]);
	}
	return AQM_OK;
}

/* ---- interface ---- */

int aqm_tree_fit(aqm_tree **out, size_t features, size_t rows, const double *const *columns, const uint8_t *labels,
                 unsigned max_depth)
{
	struct fit fit = {.features = features, .rows = rows, .columns = columns, .labels = labels};
	size_t counts[AQM_ACTIONS] = {0}, cells;
	int code = AQM_ERUN;

	*out = NULL;
	if (features == 0 || rows == 0 || rows > UINT32_MAX / 2)
		return aqm_error_set(AQM_EDATA, "decision tree: cannot grow on %zu rows of %zu features", rows, features);
	aqm_tree *tree = aqm_calloc_array(1, sizeof *tree);

	if (!tree)
		return AQM_ERUN;
	if (aqm_size_mul_overflows(features, rows, &cells)) {
		aqm_error_set(AQM_ERUN, "decision tree: %zu rows of %zu features do not fit into memory", rows, features);
		goto done;
	}
	fit.order = aqm_malloc_array(cells, sizeof *fit.order);
	fit.node_of = aqm_calloc_array(rows, sizeof *fit.node_of);
	if (!fit.order || !fit.node_of)
		goto done;
	if ((code = sort_features(&fit)) != AQM_OK)
		goto done;
	for (size_t i = 0; i < rows; i++)
		counts[labels[i]]++;
	if ((code = add_node(tree, counts)) != AQM_OK)
		goto done;
	for (size_t first = 0, depth = 0; depth < max_depth && first < tree->count; depth++) {
		const size_t last = tree->count;

		if ((code = grow_level(&fit, tree, first, last)) != AQM_OK)
			goto done;
		first = last;
	}
	*out = tree;
	tree = NULL;
done:
	free(fit.order);
	free(fit.node_of);
	free(fit.splits);
	free(fit.walks);
	aqm_tree_free(tree);
	return code;
}

uint8_t aqm_tree_predict(const aqm_tree *tree, const double *features)
{
	const struct node *node = tree->nodes;

	while (node->left)
		node = &tree->nodes[child(node, features[node->feature])];
	return node->label;
}

size_t aqm_tree_nodes(const aqm_tree *tree)
{
	return tree->count;
}

struct aqm_tree_node aqm_tree_node(const aqm_tree *tree, size_t index)
{
	const struct node *node = &tree->nodes[index];
	struct aqm_tree_node copy = {
		.feature = node->feature, .threshold = node->threshold, .left = node->left, .label = node->label};

	memcpy(copy.counts, node->counts, sizeof copy.counts);
	return copy;
}

void aqm_tree_free(aqm_tree *tree)
{
	if (!tree)
		return;
	free(tree->nodes);
	free(tree);
}
