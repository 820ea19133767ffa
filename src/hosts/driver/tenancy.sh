# Owns the tenancy record: who holds this host. Read by anyone, written under the lock, atomically and synced. The rules
# of who may take it are attach.sh's.

# Sets T_claim, T_machine, T_cluster, T_fence, T_boot, T_state (`none` without a record). False: it can't be understood.
read_tenancy() {
  read_record && return 0
  # It may have been written over while it was read.
  read_record
}

read_record() {
  T_claim='' T_machine='' T_cluster='' T_fence=0 T_boot='' T_state=none
  [ -e "$STATE/tenancy" ] || return 0
  rt_whole=''
  while read -r rt_key rt_value; do
    case $rt_key in
      state) T_state=${rt_value%% *} T_boot=${rt_value##* } ;;
      claim) T_claim=$rt_value ;;
      machine) T_machine=$rt_value ;;
      cluster) T_cluster=$rt_value ;;
      fence) T_fence=$rt_value ;;
      end) rt_whole=yes ;;
    esac
  done <"$STATE/tenancy"
  case $T_state in
    running | failed | ready | cleaning | quarantined | free) [ -n "$rt_whole" ] ;;
    *) return 1 ;;
  esac
}

# The first line: of one length, so that a new state is written over the old one, within one sector.
tenancy_line() {
  padded "state $T_state $T_boot"
}

# write_tenancy STATE CLAIM MACHINE CLUSTER FENCE: the whole record, renamed into place, on disk when it returns.
write_tenancy() {
  rename_tenancy "$@" || return 1
  sync_paths "$STATE"
  failpoint "tenancy $T_state written"
}

# rename_tenancy STATE CLAIM MACHINE CLUSTER FENCE [PATH…]: the same, and whoever comes next syncs the directory. The other
# paths are on disk before the record is.
rename_tenancy() {
  T_state=$1 T_claim=$2 T_machine=$3 T_cluster=$4 T_fence=$5
  T_boot=$BOOT
  shift 5
  failpoint "tenancy $T_state"
  tenancy_line
  {
    printf '%s\nclaim %s\nmachine %s\n' "$PADDED" "$T_claim" "$T_machine"
    printf 'cluster %s\nfence %s\nend\n' "$T_cluster" "$T_fence"
  } 2>/dev/null >"$STATE/tenancy.new" || return 1
  failpoint "tenancy $T_state made"
  sync_paths "$@" "$STATE/tenancy.new"
  failpoint "tenancy $T_state synced"
  mv -f "$STATE/tenancy.new" "$STATE/tenancy" || return 1
  failpoint "tenancy $T_state renamed"
}

# write_state STATE: of the record that was read, under the lock. Only its first line changes, in place. The caller syncs
# the file.
write_state() {
  T_state=$1
  T_boot=$BOOT
  failpoint "tenancy $T_state"
  tenancy_line
  printf '%s\n' "$PADDED" 2>/dev/null 1<>"$STATE/tenancy" || return 1
  failpoint "tenancy $T_state written"
}

tenancy_text() {
  TENANCY_TEXT="$T_claim $T_fence $T_state $T_boot $T_cluster $T_machine"
}
