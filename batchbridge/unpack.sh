# Puts what $location names, or else the base64 text that `payload` prints, unpacked into $target.
# Each thing is done by whichever of several tools the job's image has.
fail() { echo "batchbridge: cannot unpack the uploaded files: $*" >&2; exit 125; }
has() { command -v "$1" >/dev/null 2>&1; }

decode() {
  if has base64; then base64 -d
  elif has openssl; then openssl base64 -d
  elif has python3; then python3 -c 'import base64, sys; base64.decode(sys.stdin.buffer, sys.stdout.buffer)'
  else fail "neither base64 nor openssl nor python3 is there"; fi
}

# The address can be a signed one: where the tool allows it, it stands in no argument.
download() {
  if has python3; then
    printf '%s' "$location" | python3 -c 'import shutil, sys, urllib.request as request
shutil.copyfileobj(request.urlopen(sys.stdin.read(), timeout=60), sys.stdout.buffer)'
  elif has curl; then printf 'url = "%s"\n' "$location" | curl -fsSL --retry 3 -K -
  elif has wget; then wget -q -O - "$location"
  else fail "neither python3 nor curl nor wget is there"; fi
}

fetch() {
  case $location in
    '') payload | decode ;;
    /*) cat -- "$location" ;;
    *) download ;;
  esac
}

# Without a tool for it, the checksum that gzip keeps has to do.
sha256() {
  if has sha256sum; then sha256sum
  elif has shasum; then shasum -a 256
  elif has openssl; then openssl dgst -sha256 -r
  elif has python3; then python3 -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
  else echo "$digest"; fi
}

unpack() {
  if has tar; then tar -xzf "$archive" -C "$target"
  elif has python3; then python3 -m tarfile -e "$archive" "$target"
  else fail "neither tar nor python3 is there"; fi
}

mkdir -p "$target" && [ -w "$target" ] || fail "$target cannot be written to"
archive=$target/.batchbridge-upload.$$
fetch >"$archive" || fail "they could not be fetched"
actual=$(sha256 <"$archive")
[ "${actual%% *}" = "$digest" ] || fail "their sha256 is ${actual%% *} and should be $digest"
unpack || fail "the archive could not be extracted into $target"
rm -f "$archive"
