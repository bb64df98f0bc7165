#!/bin/sh
# A copy of the machine starts no services. Scripts of packages ask this program before they do, and its answer is no
# (invoke-rc.d(8)); what they asked for is written to a file, for after the change.
while :; do case $1 in --quiet) shift ;; --list) exit 0 ;; *) break ;; esac; done
unit=$1
case $unit in *.*) ;; *) unit=$unit.service ;; esac
for act in $2; do
	case $act in
	start | stop | restart | reload | try-restart | force-reload) printf '%s %s\n' "$act" "$unit" >>/run/remit-plan/acts/asked || exit 102 ;;
	esac
done
exit 101
