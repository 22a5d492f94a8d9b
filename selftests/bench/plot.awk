# SPDX-License-Identifier: GPL-2.0-only
#
# bench.csv -> gnuplot: a panel for each workload at 64 KiB, bars from the
# fastest peer to the slowest, whiskers from the least to the greatest rep.
# awk -v out=FILE.svg -f plot.awk bench.csv | gnuplot

BEGIN {
	FS = ","
	n = split("W1 W2 W2b W3 W4 W4b W5 W5b", panels, " ")
	title["W1"] = "W1: get + put, one thread"
	title["W2"] = "W2: 16 gets, 16 puts"
	title["W2b"] = "W2b: the same in bulk"
	title["W3"] = "W3: get + put, two threads"
	title["W4"] = "W4: thread to thread"
	title["W4b"] = "W4b: up to 16 at a time"
	title["W5"] = "W5: process to process"
	title["W5b"] = "W5b: up to 16 at a time"
}
NR > 1 && $2 == 65536 && $4 != "" {
	k = ++count[$1]
	name[$1, k] = $3
	middle[$1, k] = $4
	low[$1, k] = $5
	high[$1, k] = $6
}
END {
	print "set terminal svg size 1900,1000 font 'sans,11' background 'white'"
	printf "set output '%s'\n", out
	print "set multiplot layout 2,4 title 'nanoseconds a buffer, 64 KiB (log scale)'"
	print "set logscale y; set style fill solid 0.8 noborder; set boxwidth 0.7"
	print "set xtics rotate by -55 nomirror; set grid ytics; unset key"
	for (p = 1; p <= n; p++) {
		w = panels[p]
		if (!count[w])
			continue
		# by insertion: there are twenty
		for (i = 1; i <= count[w]; i++) {
			for (j = i; j > 1 && middle[w, order[j - 1]] > middle[w, i]; j--)
				order[j] = order[j - 1]
			order[j] = i
		}
		printf "$d%d << EOD\n", p
		for (i = 1; i <= count[w]; i++) {
			j = order[i]
			colour = name[w, j] ~ /^lfpool/ ? 0xc0392b : name[w, j] ~ /^floor/ ? 0x95a5a6 : 0x34608c
			label = name[w, j]
			gsub(/_/, " ", label)
			printf "%d \"%s\" %s %s %s %d\n", i, label, middle[w, j], low[w, j], high[w, j], colour
		}
		print "EOD"
		printf "set title '%s'\n", title[w]
		printf "set xrange [0.3:%d.7]\n", count[w]
		printf "plot $d%d using 1:3:6:xtic(2) with boxes lc rgb variable, ", p
		printf "$d%d using 1:3:4:5 with yerrorbars lc rgb 'black' pt 0\n", p
	}
	print "unset multiplot"
}
