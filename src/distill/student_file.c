/* SPDX-License-Identifier: BSD-2-Clause
 *
 * student.json: {"aqmtrain": "student 1", "sha256": S, "student": {...}}. S is the SHA-256 of the third member as jansson prints it,
 * compact and sorted: it finds damage, not malice, so whatever is read is checked all the same.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/size.h"
#include "distill/student.h"
#include "train/journal.h"

enum { FILE_LIMIT = 8 << 20 };
static const char magic[] = "student 1";

static const char *const kinds[] = {"network", "tree"};
static const char *const controls[] = {"packet", "update"};
static const char *const froms[] = {"now", "rule"};

static int digest_of(const json_t *body, char hex[65])
{
	char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
	aqm_sha256 *hash;
	int code = text ? aqm_sha256_new(&hash) : AQM_ERUN;

	if (code == AQM_OK) {
		aqm_sha256_update(hash, text, strlen(text));
		aqm_sha256_finish(hash, hex);
	}
	free(text);
	return code;
}

/* ---- writing ---- */

static json_t *list_8(const int8_t *x, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_integer(x[i]));
	return list;
}

static json_t *list_32(const int32_t *x, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_integer(x[i]));
	return list;
}

static json_t *inputs_json(const aqm_student *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->count; i++) {
		const struct aqm_student_source *input = &s->inputs[i];

		json_array_append_new(list, json_pack("{s:s, s:b, s:i, s:[Ii], s:[Ii]}", "name", input->name, "delta", input->delta, "length",
		                                      input->length, "log", (json_int_t)input->log.center, input->log.shift, "linear",
		                                      (json_int_t)input->linear.center, input->linear.shift));
	}
	return list;
}

static json_t *network_json(const aqm_student *s)
{
	const struct aqm_student_network *n = &s->network;
	size_t encoded = s->count * n->units;
	json_t *encoder = json_array(), *dense = json_array(), *head = json_array();

	for (size_t v = 0; v < 2 * s->values; v++)
		json_array_append_new(encoder, list_8(n->encoder[v], n->units));
	for (size_t j = 0; j < n->hidden; j++)
		json_array_append_new(dense, list_8(n->dense[j], encoded));
	for (size_t o = 0; o < n->outputs; o++)
		json_array_append_new(head, list_8(n->head[o], n->hidden));
	return json_pack("{s:i, s:i, s:b, s:[iii], s:o, s:o, s:o, s:o, s:o, s:o}", "units", n->units, "hidden", n->hidden, "leaky", n->leaky,
	                 "shifts", n->encoder_shift, n->dense_shift, n->head_shift, "encoder", encoder, "encoder_bias",
	                 list_32(n->encoder_bias, encoded), "dense", dense, "dense_bias", list_32(n->dense_bias, n->hidden), "head", head,
	                 "head_bias", list_32(n->head_bias, n->outputs));
}

/* A node is [value, threshold, low, high], a leaf [label, enqueue, drop, mark]; thresholds as text, for they have 64 bits. */
static json_t *tree_json(const aqm_student *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->node_count; i++) {
		const struct aqm_student_node *node = &s->nodes[i];
		char threshold[24];

		snprintf(threshold, sizeof threshold, "%llu", (unsigned long long)node->threshold);
		json_array_append_new(list, node->low ? json_pack("[i,s,i,i]", node->value, threshold, node->low, node->high)
		                                      : json_pack("[i,i,i,i]", node->label, node->share[0], node->share[1], node->share[2]));
	}
	return list;
}

static json_t *origin_json(const struct aqm_student_origin *o)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:b, s:I}", "version", o->version, "teacher", o->teacher, "teacher_sha256",
	                 o->teacher_digest, "base_sha256", o->base_digest, "pool_sha256", o->pool_digest, "returns", o->returns, "fidelity",
	                 aqm_json_number(o->fidelity), "macro_f1", aqm_json_number(o->macro_f1), "held_out", o->held_out, "rows", (json_int_t)o->rows);
}

static json_t *body_json(const aqm_student *s)
{
	bool tree = s->kind == AQM_STUDENT_TREE;

	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "control", controls[s->control], "from", froms[s->from], "kind", kinds[s->kind], "inputs",
	                 inputs_json(s), tree ? "nodes" : "network", tree ? tree_json(s) : network_json(s), "origin", origin_json(&s->origin));
}

int aqm_student_digest(const aqm_student *student, char hex[65])
{
	json_t *body = body_json(student);
	int code = body ? digest_of(body, hex) : aqm_error_set(AQM_ERUN, "a student cannot be told in JSON");

	json_decref(body);
	return code;
}

int aqm_student_print(const aqm_student *s, char **text)
{
	json_t *body = body_json(s);
	char hex[65];
	int code = body ? digest_of(body, hex) : AQM_ERUN;

	*text = NULL;
	if (code == AQM_OK) {
		json_t *file = json_pack("{s:s, s:s, s:O}", "aqmtrain", magic, "sha256", hex, "student", body);

		*text = file ? json_dumps(file, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
		json_decref(file);
	}
	json_decref(body);
	return *text ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot write a student: no memory, or a name that is no UTF-8");
}

int aqm_student_save(const aqm_student *student, const char *path)
{
	char *text;
	int code = aqm_student_print(student, &text);

	if (code == AQM_OK)
		code = aqm_file_write(path, text, strlen(text));
	free(text);
	return code;
}

/* ---- reading ---- */

struct reader {
	const char *name;
	int code;
};

static void fail(struct reader *r, const char *what)
{
	if (r->code == AQM_OK)
		r->code = aqm_error_set(AQM_EDATA, "cannot read '%s': %s", r->name, what);
}

static json_int_t whole(struct reader *r, const json_t *value, json_int_t low, json_int_t high, const char *what)
{
	if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high) {
		fail(r, what);
		return low;
	}
	return json_integer_value(value);
}

static const json_t *list_of(struct reader *r, const json_t *value, size_t count, const char *what)
{
	if (!json_is_array(value) || json_array_size(value) != count) {
		fail(r, what);
		return NULL;
	}
	return value;
}

static void read_8(struct reader *r, const json_t *value, size_t count, int8_t *out, const char *what)
{
	const json_t *list = list_of(r, value, count, what);

	for (size_t i = 0; list && i < count; i++)
		out[i] = (int8_t)whole(r, json_array_get(list, i), -127, 127, what);
}

static void read_32(struct reader *r, const json_t *value, size_t count, int32_t *out, const char *what)
{
	const json_t *list = list_of(r, value, count, what);

	for (size_t i = 0; list && i < count; i++)
		out[i] = (int32_t)whole(r, json_array_get(list, i), -AQM_STUDENT_BIAS_MAX, AQM_STUDENT_BIAS_MAX, what);
}

static int word(struct reader *r, const json_t *value, const char *const *words, int count, const char *what)
{
	const char *text = json_string_value(value);

	for (int i = 0; text && i < count; i++)
		if (strcmp(text, words[i]) == 0)
			return i;
	fail(r, what);
	return 0;
}

/* Text for the comment of a header: printable, without what could end a comment. */
static void read_text(const json_t *object, const char *key, char *out, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));

	snprintf(out, size, "%s", text ? text : "");
	for (char *c = out; *c; c++)
		if (*c < ' ' || *c > '~' || *c == '*')
			*c = '?';
}

static double read_number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static void read_origin(const json_t *from, struct aqm_student_origin *o)
{
	read_text(from, "version", o->version, sizeof o->version);
	read_text(from, "teacher", o->teacher, sizeof o->teacher);
	read_text(from, "teacher_sha256", o->teacher_digest, sizeof o->teacher_digest);
	read_text(from, "base_sha256", o->base_digest, sizeof o->base_digest);
	read_text(from, "pool_sha256", o->pool_digest, sizeof o->pool_digest);
	read_text(from, "returns", o->returns, sizeof o->returns);
	o->fidelity = read_number(from, "fidelity");
	o->macro_f1 = read_number(from, "macro_f1");
	o->held_out = json_is_true(json_object_get(from, "held_out"));
	json_int_t rows = json_integer_value(json_object_get(from, "rows"));
	o->rows = rows > 0 ? (uint64_t)rows : 0;
}

static bool is_name(const char *text)
{
	size_t length = text ? strspn(text, "abcdefghijklmnopqrstuvwxyz_0123456789") : 0;

	return length > 0 && length < AQM_STUDENT_NAME_MAX && !text[length] && (text[0] < '0' || text[0] > '9');
}

static void read_scale(struct reader *r, const json_t *from, struct aqm_student_scale *scale)
{
	static const char what[] = "an input's scale";
	const json_t *pair = list_of(r, from, 2, what);

	scale->center = (uint64_t)whole(r, json_array_get(pair, 0), 0, (json_int_t)AQM_STUDENT_CENTER_MAX, what);
	scale->shift = (int8_t)whole(r, json_array_get(pair, 1), -AQM_STUDENT_VALUE_BITS, 60, what);
}

static size_t read_inputs(struct reader *r, const json_t *list, struct aqm_student_source *inputs)
{
	size_t count = json_array_size(list);

	if (count == 0 || count > AQM_STUDENT_INPUTS_MAX) {
		fail(r, "the number of inputs");
		return 0;
	}
	for (size_t i = 0; i < count; i++) {
		const json_t *from = json_array_get(list, i);
		const char *name = json_string_value(json_object_get(from, "name"));
		struct aqm_student_source *input = &inputs[i];

		if (!is_name(name)) {
			fail(r, "an input's name");
			return 0;
		}
		snprintf(input->name, sizeof input->name, "%s", name);
		input->delta = json_is_true(json_object_get(from, "delta"));
		input->length = (uint8_t)whole(r, json_object_get(from, "length"), 1, AQM_STUDENT_LENGTH_MAX, "an input's length");
		read_scale(r, json_object_get(from, "log"), &input->log);
		read_scale(r, json_object_get(from, "linear"), &input->linear);
	}
	return count;
}

static void read_network(struct reader *r, const json_t *from, aqm_student *s)
{
	struct aqm_student_network *n = &s->network;
	const json_t *shifts = list_of(r, json_object_get(from, "shifts"), 3, "'shifts'");

	n->units = (uint8_t)whole(r, json_object_get(from, "units"), 1, AQM_STUDENT_UNITS_MAX, "'units'");
	n->hidden = (uint8_t)whole(r, json_object_get(from, "hidden"), 1, AQM_STUDENT_HIDDEN_MAX, "'hidden'");
	n->leaky = json_is_true(json_object_get(from, "leaky"));
	n->encoder_shift = (uint8_t)whole(r, json_array_get(shifts, 0), 0, 15, "'shifts'");
	n->dense_shift = (uint8_t)whole(r, json_array_get(shifts, 1), 0, 15, "'shifts'");
	n->head_shift = (uint8_t)whole(r, json_array_get(shifts, 2), 0, 15, "'shifts'");
	const json_t *encoder = list_of(r, json_object_get(from, "encoder"), 2 * s->values, "'encoder'");
	const json_t *dense = list_of(r, json_object_get(from, "dense"), n->hidden, "'dense'");
	const json_t *head = list_of(r, json_object_get(from, "head"), n->outputs, "'head'");
	size_t encoded = s->count * n->units;

	for (size_t v = 0; encoder && v < 2 * s->values; v++)
		read_8(r, json_array_get(encoder, v), n->units, n->encoder[v], "'encoder'");
	for (size_t j = 0; dense && j < n->hidden; j++)
		read_8(r, json_array_get(dense, j), encoded, n->dense[j], "'dense'");
	for (size_t o = 0; head && o < n->outputs; o++)
		read_8(r, json_array_get(head, o), n->hidden, n->head[o], "'head'");
	read_32(r, json_object_get(from, "encoder_bias"), encoded, n->encoder_bias, "'encoder_bias'");
	read_32(r, json_object_get(from, "dense_bias"), n->hidden, n->dense_bias, "'dense_bias'");
	read_32(r, json_object_get(from, "head_bias"), n->outputs, n->head_bias, "'head_bias'");
}

static uint64_t read_threshold(struct reader *r, const json_t *value)
{
	const char *text = json_string_value(value);
	char *end;

	if (!text || !*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 20) {
		fail(r, "a threshold");
		return 0;
	}
	return strtoull(text, &end, 10);
}

static void read_node(struct reader *r, const json_t *from, struct aqm_student_node *node)
{
	static const char what[] = "a node";

	if (!list_of(r, from, 4, what))
		return;
	if (json_is_string(json_array_get(from, 1))) {
		node->value = (uint8_t)whole(r, json_array_get(from, 0), 0, AQM_STUDENT_VALUES_MAX - 1, what);
		node->threshold = read_threshold(r, json_array_get(from, 1));
		node->low = (uint16_t)whole(r, json_array_get(from, 2), 1, AQM_STUDENT_NODES_MAX, what);
		node->high = (uint16_t)whole(r, json_array_get(from, 3), 1, AQM_STUDENT_NODES_MAX, what);
		return;
	}
	node->label = (uint8_t)whole(r, json_array_get(from, 0), 0, AQM_ACTIONS - 1, what);
	for (size_t a = 0; a < AQM_ACTIONS; a++)
		node->share[a] = (uint8_t)whole(r, json_array_get(from, a + 1), 0, 255, what);
}

static void read_tree(struct reader *r, const json_t *list, aqm_student *s)
{
	size_t count = json_array_size(list);

	if (count == 0 || count > AQM_STUDENT_NODES_MAX) {
		fail(r, "the number of nodes");
		return;
	}
	s->nodes = aqm_calloc_array(count, sizeof *s->nodes);
	if (!s->nodes) {
		r->code = AQM_ERUN;
		return;
	}
	s->node_count = count;
	for (size_t i = 0; i < count && r->code == AQM_OK; i++)
		read_node(r, json_array_get(list, i), &s->nodes[i]);
}

static int read_body(aqm_student **out, const char *name, const json_t *body)
{
	struct reader r = {name, AQM_OK};
	struct aqm_student_source inputs[AQM_STUDENT_INPUTS_MAX] = {0};
	enum aqm_control control = (enum aqm_control)word(&r, json_object_get(body, "control"), controls, 2, "'control'");
	const json_t *from = json_object_get(body, "from");
	enum aqm_change_from change = from ? (enum aqm_change_from)word(&r, from, froms, 2, "'from'") : AQM_FROM_NOW;
	enum aqm_student_kind kind = (enum aqm_student_kind)word(&r, json_object_get(body, "kind"), kinds, 2, "'kind'");
	size_t count = r.code == AQM_OK ? read_inputs(&r, json_object_get(body, "inputs"), inputs) : 0;

	if (r.code == AQM_OK) {
		r.code = aqm_student_new(out, control, kind, count, inputs);
		if (r.code == AQM_EUSAGE)
			r.code = AQM_EDATA;
	}
	if (r.code != AQM_OK)
		return r.code;
	(*out)->from = change;
	if (kind == AQM_STUDENT_TREE)
		read_tree(&r, json_object_get(body, "nodes"), *out);
	else
		read_network(&r, json_object_get(body, "network"), *out);
	read_origin(json_object_get(body, "origin"), &(*out)->origin);
	return r.code == AQM_OK ? aqm_student_check(*out, name) : r.code;
}

int aqm_student_parse(aqm_student **out, const char *name, const void *data, size_t bytes)
{
	json_error_t where;
	json_t *file = json_loadb(data, bytes, JSON_REJECT_DUPLICATES, &where);
	const char *first = json_string_value(json_object_get(file, "aqmtrain"));
	const char *sum = json_string_value(json_object_get(file, "sha256"));
	const json_t *body = json_object_get(file, "student");
	char hex[65];
	int code = AQM_OK;

	*out = NULL;
	if (!file)
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': line %d: %s", name, where.line, where.text);
	else if (!first || strcmp(first, magic) != 0 || !json_is_object(body))
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': it is not a student that this program wrote", name);
	else if ((code = digest_of(body, hex)) == AQM_OK && (!sum || strcmp(sum, hex) != 0))
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': it is damaged (SHA-256 %.16s..., not the one written in it)", name, hex);
	if (code == AQM_OK)
		code = read_body(out, name, body);
	if (code != AQM_OK) {
		aqm_student_free(*out);
		*out = NULL;
	}
	json_decref(file);
	return code;
}

int aqm_student_load(aqm_student **out, const char *path)
{
	struct stat status;
	bool folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
	char *file = folder ? aqm_path_join(path, "student.json") : aqm_strdup(path), *data = NULL;
	size_t bytes;
	int code = file ? aqm_file_read(file, FILE_LIMIT, &data, &bytes) : AQM_ERUN;

	*out = NULL;
	if (code == AQM_OK)
		code = aqm_student_parse(out, file, data, bytes);
	free(data);
	free(file);
	return code;
}

bool aqm_student_is(const char *path)
{
	static const char begin[] = "{\"aqmtrain\":\"student ";
	char head[sizeof begin - 1];
	FILE *file = fopen(path, "rb");
	bool is = file && fread(head, sizeof head, 1, file) == 1 && memcmp(head, begin, sizeof head) == 0;

	if (file)
		fclose(file);
	return is;
}
