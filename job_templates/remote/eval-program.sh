#!/bin/sh
# Runs the program that $1 is, its line breaks and backslashes escaped, with the other words. One line, as in marked.sh.
program=$1; shift; eval "$(printf %b "$program")"
