#!/bin/sh
# A copy of the machine starts no services. Scripts of packages ask this program before they do (invoke-rc.d(8)). With
# systemctl, which writes down what is asked for of each unit, they may; otherwise this program writes it down, for the first
# one alone, and its answer is no.
while :; do case $1 in --quiet) shift ;; --list) exit 0 ;; *) break ;; esac; done
[ ! -e /run/remit-plan/systemctl ] || exit 0
unit=$1
case $unit in *.*) ;; *) unit=$unit.service ;; esac
for act in $2; do
	case $act in
	start | stop | restart | reload | try-restart | force-reload) printf '%s %s\n' "$act" "$unit" >>/run/remit-plan/acts/asked || exit 102 ;;
	esac
done
exit 101
