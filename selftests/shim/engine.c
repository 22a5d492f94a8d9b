// SPDX-License-Identifier: GPL-2.0-only
/*
 * module/recover.c, as it is, in user space. ENGINE_SOURCE names another
 * version of it: one that was broken on purpose, to see which test notices.
 */
#include "engine.h"

#ifndef ENGINE_SOURCE
# define ENGINE_SOURCE "../../module/recover.c"
#endif
#define lfpool_audit(v, a)	lfpool_engine_audit(v, a)
#include ENGINE_SOURCE
