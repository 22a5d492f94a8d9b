// SPDX-License-Identifier: MIT
/*
 * Text in columns, each as wide as its widest cell.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

void table_cell(struct table *t, enum color c, const char *fmt, ...)
{
	va_list args;
	char *text;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		out_of_memory();
	va_end(args);
	t->cell = xrealloc(t->cell, t->cells + 1, sizeof(*t->cell));
	t->cell[t->cells].text = text;
	t->cell[t->cells++].color = c;
}

static void cell_print(FILE *f, const char *text, enum color c, bool left, int width, bool last)
{
	int pad = width - (int)strlen(text);

	if (!left)
		fprintf(f, "%*s", pad, "");
	if (c == PLAIN)
		fputs(text, f);
	else
		fprintf(f, "%s%s%s", color(c), text, color(PLAIN));
	if (left && !last)
		fprintf(f, "%*s", pad, "");
	fputs(last ? "\n" : "  ", f);
}

void table_print(struct table *t, FILE *f)
{
	int width[TABLE_COLUMNS] = { 0 };
	bool left[TABLE_COLUMNS];
	unsigned int i, k;

	for (k = 0; k < t->columns; k++) {
		left[k] = t->heads[k][0] == '-';
		width[k] = strlen(t->heads[k]) - left[k];
	}
	for (i = 0; i < t->cells; i++) {
		int len = strlen(t->cell[i].text);

		/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): no table is without columns */
		if (len > width[i % t->columns])
			width[i % t->columns] = len;
	}
	for (k = 0; k < t->columns; k++)
		cell_print(f, t->heads[k] + left[k], BOLD, left[k], width[k], k + 1 == t->columns);
	for (i = 0; i < t->cells; i++) {
		k = i % t->columns;
		cell_print(f, t->cell[i].text, t->cell[i].color, left[k], width[k],
			   k + 1 == t->columns);
		free(t->cell[i].text);
	}
	free(t->cell);
	t->cell = NULL;
	t->cells = 0;
}
