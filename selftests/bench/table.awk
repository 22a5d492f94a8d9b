# SPDX-License-Identifier: GPL-2.0-only
#
# bench.csv -> Markdown: a table of all workloads, one of single calls, and the
# targets. The best peer is the fastest that is neither lfpool nor a floor.

function ours(peer)
{
	return peer ~ /^lfpool/
}

function size_name(size)
{
	return size < 65536 ? size " B" : size / 1024 " KiB"
}

# a row for each peer, a column for each of n keys
function table(keys, heads, n, with_ratio,    p, k, key, line)
{
	line = "| peer |"
	for (k = 1; k <= n; k++)
		line = line " " heads[k] " |"
	print line
	gsub(/[^|]+/, " --- ", line)
	print line
	for (p = 1; p <= peers; p++) {
		line = "| " peer[p] " |"
		for (k = 1; k <= n; k++) {
			key = keys[k]
			if (!((key, peer[p]) in median))
				line = line " |"
			else if (with_ratio && best[key] > 0)
				line = line sprintf(" %.1f (%.2f) |", median[key, peer[p]],
						    median[key, peer[p]] / best[key])
			else
				line = line sprintf(" %.1f |", median[key, peer[p]])
		}
		print line
	}
}

# a target: what is measured, beside what; limit on the ratio
function target(text, mine, other, limit, at_least,    ratio)
{
	if (mine == "" || other == "" || other == 0) {
		printf "| %s | | | not measured |\n", text
		return
	}
	ratio = mine / other
	printf "| %s | %.2f / %.2f | %.2f | %s |\n", text, mine, other, ratio,
	       (at_least ? ratio >= limit : ratio <= limit) ? "met" : "**not met**"
}

# floor: what the method shows for a pool that does next to nothing
function below(text, key, limit,    mine)
{
	mine = median[key, "lfpool"]
	if (mine == "")
		printf "| %s | | | not measured |\n", text
	else
		printf "| %s | %.2f ns (private array: %.2f) | | %s |\n", text, mine,
		       median[key, "floor_array"], mine < limit ? "met" : "**not met**"
}

# the best of DPDK's three drivers
function dpdk(key,    d, b, names, n)
{
	b = ""
	n = split("dpdk_ring dpdk_stack dpdk_lf_stack", names, " ")
	for (d = 1; d <= n; d++)
		if ((key, names[d]) in median && (b == "" || median[key, names[d]] < b))
			b = median[key, names[d]]
	return b
}

BEGIN { FS = "," }
NR == 1 { next }
{
	key = $1 " " $2
	if (!($3 in seen)) {
		seen[$3] = 1
		peer[++peers] = $3
	}
	if (!(key in known)) {
		known[key] = 1
		if ($1 ~ /^TAIL/) {
			if ($1 != "TAIL") {
				tail[++tails] = key
				tail_head[tails] = substr($1, 6)
				gsub(/_/, " ", tail_head[tails])
			}
		} else {
			all[++alls] = key
			all_head[alls] = $1 ", " size_name($2)
		}
	}
	if ($4 == "") {
		if ($8 !~ /no bulk|no hand|one process/)
			failed = failed "\n* " $3 ", " $1 ": " $8
		next
	}
	median[key, $3] = $4
	if (!ours($3) && $3 !~ /^floor/ && (!(key in best) || $4 < best[key])) {
		best[key] = $4
		best_peer[key] = $3
	}
}
END {
	k = " 65536"
	print "\n## Nanoseconds, and in brackets the ratio to the best peer\n"
	table(all, all_head, alls, 1)
	line = "| *best peer* |"
	for (i = 1; i <= alls; i++)
		line = line " " best_peer[all[i]] " |"
	print line
	if (failed)
		print "\nNot measured:" failed
	print "\n## Single calls, 64 KiB, nanoseconds\n"
	table(tail, tail_head, tails, 0)
	print "\n## Targets (64 KiB)\n"
	print "| target | measured | ratio | |"
	print "| --- | --- | --- | --- |"
	us = "lfpool"
	target("W1 <= 0.70 x DPDK", median["W1" k, us], dpdk("W1" k), .7)
	target("W1 <= 2.0 x private array", median["W1" k, us], median["W1" k, "floor_array"], 2)
	target("W2 <= 0.70 x DPDK", median["W2" k, us], dpdk("W2" k), .7)
	target("W2b <= 1.0 x DPDK", median["W2b" k, us], dpdk("W2b" k), 1)
	target("W3 <= 0.70 x DPDK", median["W3" k, us], dpdk("W3" k), .7)
	target("W3 <= 1.1 x own W1", median["W3" k, us], median["W1" k, us], 1.1)
	target("W4 <= 0.85 x best peer (" best_peer["W4" k] ")", median["W4" k, us], best["W4" k], .85)
	target("W5 <= 1.2 x best peer (" best_peer["W5" k] ")", median["W5" k, us], best["W5" k], 1.2)
	target("W4b <= 0.85 x best peer (" best_peer["W4b" k] ")", median["W4b" k, us], best["W4b" k], .85)
	target("W5b <= 1.2 x best peer (" best_peer["W5b" k] ")", median["W5b" k, us], best["W5b" k], 1.2)
	target("W1 >= 20 x faster than the original", median["W1" k, "original"], median["W1" k, us], 20, 1)
	target("W3 >= 20 x faster than the original", median["W3" k, "original"], median["W3" k, us], 20, 1)
	below("get p50 < 10 ns", "TAIL_get_p50" k, 10)
	below("get p99.9 < 50 ns", "TAIL_get_p99.9" k, 50)
	below("put p50 < 5 ns", "TAIL_put_p50" k, 5)
	below("put p99.9 < 50 ns", "TAIL_put_p99.9" k, 50)
}
