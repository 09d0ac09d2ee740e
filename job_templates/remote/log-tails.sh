#!/bin/bash
# What was written to a job's logs since they were last read: $1 the job's folder, $2 the batch script's output, $3 which attempt
# (0: the last), $4 which task, $5 1 for the batch script's output alone, $6 most bytes of one file, $7 the attempt that was last
# read, $8 to $10 how many bytes of stdout, stderr and the batch script's output were.
#
# The first line out: the attempt's number (-1: there is no run folder; -2: there is no such attempt, and the next number is the
# last one's), then how many bytes of each file follow it. No link is
# followed: the files may be somebody else's work. The batch script's output is given where it was asked for, or where the program
# was not started: its container has no id, or something refused it.
. ./last-attempt.sh
if [[ ! -d ${1%/*} || -L ${1%/*} ]]; then
    echo "-1 0 0 0"
    exit
fi
if [[ -e $1 && (-L $1 || ! -O $1) ]]; then
    echo "0 0 0 0"
    exit
fi
folder=$1 script=$2 n=$3 rank=$4 batch=$5 most=$6 before=$7 out=$8 err=$9
shift 9
last_attempt "$folder"
if [ "$n" -gt "$last" ]; then
    echo "-2 $last 0 0"
    exit
fi
[ "$n" != 0 ] || n=$last
[ "$n" = "$before" ] || out=0 err=0
attempt=$folder/attempt-$n facts=$folder/attempt-$n/facts/task-$rank
[ "$rank" = 0 ] && mark='' || mark=.$rank

# In size: how many bytes of a file come behind so many.
left() {
    size=0
    [ ! -f "$1" ] || [ -L "$1" ] || size=$(wc -c <"$1")
    size=$((size - $2))
    [ "$size" -gt 0 ] || size=0
    [ "$size" -le "$most" ] || size=$most
}

give() { [ "$3" = 0 ] || tail -c "+$(($2 + 1))" "$1" | head -c "$3"; }

a=0 b=0 c=0
if [ "$batch" = 0 ]; then
    left "$attempt/stdout$mark.log" "$out"
    a=$size
    left "$attempt/stderr$mark.log" "$err"
    b=$size
fi
if [ "$batch" = 1 ] || [ ! -s "$facts/container-id.txt" ] || [ -s "$facts/refused.txt" ]; then
    left "$script" "$1"
    c=$size
fi
echo "$n $a $b $c"
give "$attempt/stdout$mark.log" "$out" "$a"
give "$attempt/stderr$mark.log" "$err" "$b"
give "$script" "$1" "$c"
