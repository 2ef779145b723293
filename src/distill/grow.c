/* SPDX-License-Identifier: BSD-2-Clause */
#include "distill/grow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/eval.h"
#include "base/size.h"

struct growth {
	struct aqm_tree_node *nodes; /* (count); left 0: a leaf */
	size_t count, kept;          /* kept: those that are still reached */
};

static size_t rows_of(const struct aqm_tree_node *node)
{
	return node->counts[0] + node->counts[1] + node->counts[2];
}

/* Rows that the node would get wrong as a leaf. */
static size_t misses(const struct aqm_tree_node *node)
{
	return rows_of(node) - node->counts[node->label];
}

static bool is_fork(const struct growth *g, size_t i)
{
	const struct aqm_tree_node *node = &g->nodes[i];

	return node->left && !g->nodes[node->left].left && !g->nodes[node->left + 1].left;
}

/* What a fork above two leaves is good for. */
static size_t gain(const struct growth *g, size_t i)
{
	const struct aqm_tree_node *node = &g->nodes[i];

	return misses(node) - misses(&g->nodes[node->left]) - misses(&g->nodes[node->left + 1]);
}

static void collapse(struct growth *g, size_t i)
{
	g->nodes[i].left = 0;
	g->kept -= 2;
}

/* Children lie behind their parents, so one walk from the back folds all that tells nothing. */
static void prune(struct growth *g, size_t most)
{
	for (size_t i = g->count; i-- > 0;)
		if (is_fork(g, i) && gain(g, i) == 0)
			collapse(g, i);
	while (g->kept > most && g->nodes[0].left) {
		size_t worst = SIZE_MAX;

		for (size_t i = 0; i < g->count; i++)
			if (is_fork(g, i) && (worst == SIZE_MAX || gain(g, i) < gain(g, worst)))
				worst = i;
		collapse(g, worst);
	}
}

static void fill_leaf(struct aqm_student_node *out, const struct aqm_tree_node *node)
{
	size_t rows = rows_of(node);

	out->label = node->label;
	for (int a = 0; a < AQM_ACTIONS; a++)
		out->share[a] = (uint8_t)((node->counts[a] * 255 + rows / 2) / (rows ? rows : 1));
}

/* Number what is left level by level, and write it into the student. */
static int take(aqm_student *student, const struct growth *g)
{
	size_t *order = aqm_malloc_array(g->kept, sizeof *order), end = 1;

	student->nodes = aqm_calloc_array(g->kept, sizeof *student->nodes);
	if (!order || !student->nodes) {
		free(order);
		return AQM_ERUN;
	}
	order[0] = 0;
	for (size_t i = 0; i < end; i++) {
		const struct aqm_tree_node *node = &g->nodes[order[i]];
		struct aqm_student_node *out = &student->nodes[i];

		if (!node->left) {
			fill_leaf(out, node);
			continue;
		}
		out->value = (uint8_t)node->feature;
		out->threshold = node->threshold <= 0 ? 0 : node->threshold >= 0x1p64 ? UINT64_MAX : (uint64_t)floor(node->threshold);
		out->low = (uint16_t)end;
		order[end++] = node->left;
		out->high = (uint16_t)end;
		order[end++] = node->left + 1;
	}
	student->node_count = end;
	free(order);
	return aqm_student_check(student, "(grown)");
}

int aqm_tree_grow(aqm_student *student, const struct aqm_lesson *lesson, const uint8_t *labels, unsigned depth, size_t nodes)
{
	const double *columns[AQM_STUDENT_VALUES_MAX];
	double *block = aqm_malloc_array(lesson->rows, lesson->values * sizeof *block);
	struct growth g = {0};
	aqm_tree *tree = NULL;
	int code = block ? AQM_OK : AQM_ERUN;

	for (size_t v = 0; code == AQM_OK && v < lesson->values; v++) {
		columns[v] = block + v * lesson->rows;
		for (size_t r = 0; r < lesson->rows; r++)
			block[v * lesson->rows + r] = (double)lesson->read[r * lesson->values + v];
	}
	if (code == AQM_OK)
		code = aqm_tree_fit(&tree, lesson->values, lesson->rows, columns, labels, depth);
	if (code == AQM_OK) {
		g.count = g.kept = aqm_tree_nodes(tree);
		g.nodes = aqm_malloc_array(g.count, sizeof *g.nodes);
		code = g.nodes ? AQM_OK : AQM_ERUN;
	}
	for (size_t i = 0; code == AQM_OK && i < g.count; i++)
		g.nodes[i] = aqm_tree_node(tree, i);
	if (code == AQM_OK) {
		prune(&g, nodes);
		code = take(student, &g);
	}
	aqm_tree_free(tree);
	free(g.nodes);
	free(block);
	return code;
}
