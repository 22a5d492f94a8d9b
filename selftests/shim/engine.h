/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The module's recovery engine for programs in user space. The library has a
 * lfpool_audit(), too; the engine's is lfpool_engine_audit() there.
 */
#ifndef SHIM_ENGINE_H
#define SHIM_ENGINE_H

#define lfpool_audit(v, a)	lfpool_engine_audit(v, a)
#include "../../module/recover.h"
#undef lfpool_audit

static inline u64 make_word(u32 generation, u32 low)
{
	return (u64)generation << LFPOOL_WORD_GEN_SHIFT | low;
}

#endif /* SHIM_ENGINE_H */
