# Owns the tenancy record: who holds this host. Read by anyone, written under the lock, atomically and synced. The rules
# of who may take it are attach.sh's.

# Sets T_claim, T_machine, T_cluster, T_fence, T_boot, T_state (`none` without a record). False: it can't be understood.
read_tenancy() {
  T_claim='' T_machine='' T_cluster='' T_fence=0 T_boot='' T_state=none
  [ -e "$STATE/tenancy" ] || return 0
  rt_whole=''
  while read -r rt_key rt_value; do
    case $rt_key in
      claim) T_claim=$rt_value ;;
      machine) T_machine=$rt_value ;;
      cluster) T_cluster=$rt_value ;;
      fence) T_fence=$rt_value ;;
      boot) T_boot=$rt_value ;;
      state) T_state=$rt_value ;;
      end) rt_whole=yes ;;
    esac
  done <"$STATE/tenancy"
  [ -n "$rt_whole" ]
}

# write_tenancy STATE [CLAIM MACHINE CLUSTER FENCE]; without the latter those of the record that was read.
write_tenancy() {
  if [ $# -eq 5 ]; then
    T_claim=$2 T_machine=$3 T_cluster=$4 T_fence=$5
  fi
  T_state=$1
  T_boot=$BOOT
  failpoint "tenancy $1"
  {
    printf 'claim %s\nmachine %s\ncluster %s\n' "$T_claim" "$T_machine" "$T_cluster"
    printf 'fence %s\nboot %s\nstate %s\nend\n' "$T_fence" "$T_boot" "$T_state"
  } 2>/dev/null >"$STATE/tenancy.new" || return 1
  sync_path "$STATE/tenancy.new"
  mv -f "$STATE/tenancy.new" "$STATE/tenancy" || return 1
  sync_path "$STATE"
  failpoint "tenancy $1 written"
}

tenancy_text() {
  TENANCY_TEXT="$T_claim $T_fence $T_state $T_boot $T_cluster $T_machine"
}
