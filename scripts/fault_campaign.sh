#!/usr/bin/env bash
# Kills a run of a tiny model at random moments, resumes it, and compares its files, byte by
# byte, with an uninterrupted run. Usage: scripts/fault_campaign.sh [KILLS]   (200 if not given)
set -euo pipefail
cd "$(dirname "$0")/.."
ATTNLAB_TEST_KILLS="${1:-200}" cargo test --locked --release --test it -- \
    --exact faults::campaign::a_killed_run_resumes_and_ends_with_the_same_bytes --nocapture
