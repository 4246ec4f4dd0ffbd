#!/usr/bin/env bash
# Typesets the tables of reports in one document with a real TeX, and fails on anything an author would have to fix:
# errors, missing characters, overfull lines, and undefined or duplicate labels.
#   scripts/latex_test.sh REPORT_FOLDER...      leaves tables.pdf in $OUT (default: a temporary folder)
# The preamble has the packages that the table files ask for. If one of them needs XeLaTeX, FONT is the font.
# On Debian: apt-get install texlive-latex-extra poppler-utils   (and texlive-xetex fonts-freefont-otf)
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }

out=${OUT:-$(mktemp -d)}
mkdir -p "$out"
files=() number=0
for folder in "$@"; do
    number=$((number + 1))
    cp "$folder/tables.tex" "$out/report-$number.tex"
    files+=("report-$number.tex")
done
cd "$out"

# The packages that the table files ask for, each line once.
needs=$(sed -n 's/^%   \(\\usepackage.*\)/\1/p' "${files[@]}" | awk '!seen[$0]++')
engine=pdflatex
if grep -q '^% pdfLaTeX cannot set' "${files[@]}"; then
    engine=xelatex
    needs=$(sed -e '/fontenc/d' -e "s/a font that has these characters/${FONT:-FreeSerif}/" <<<"$needs")
fi
{
    printf '%s\n' '\documentclass{article}' "$needs" '\begin{document}'
    printf '\\input{%s}\n' "${files[@]}"
    # Refer to every table once.
    grep -ho '\\label{[^}]*}' "${files[@]}" | sed 's/\\label/Table~\\ref/'
    printf '%s\n' '\end{document}'
} >tables.tex
for _ in 1 2 3; do
    "$engine" -interaction=nonstopmode -halt-on-error tables.tex >/dev/null 2>&1 ||
        { grep -A8 '^!' tables.log >&2; echo "$engine failed on $out/tables.tex" >&2; exit 1; }
done
if grep -E '^Overfull|^Missing character|multiply defined|undefined|have changed' tables.log >&2; then
    echo "$engine warned about $out/tables.tex" >&2
    exit 1
fi
count() { cat "${files[@]}" | grep -c "$1" || true; }
echo "$out/tables.pdf by $engine: $(count "\\\\label{") tables, $(count "\\\\begin{longtable}") of them long"
