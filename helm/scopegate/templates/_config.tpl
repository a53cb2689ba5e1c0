{{/* The configuration: what the chart knows, and the text of the user behind it. */}}

{{/* Where the doors listen, by their keys under `listen`. */}}
{{- define "scopegate.listen" -}}
{{- $doors := .Values.doors -}}
{{- if eq .Values.mode "sidecar" }}
proxy: {{ printf "%s:%v" $doors.address .Values.sidecar.port | quote }}
ext_authz: "off"
forward_auth: "off"
{{- else }}
ext_authz: {{ ternary (printf "%s:%v" $doors.address $doors.extAuthz.port) "off" $doors.extAuthz.enabled | quote }}
forward_auth: {{ ternary (printf "%s:%v" $doors.address $doors.forwardAuth.port) "off" $doors.forwardAuth.enabled | quote }}
{{- end }}
admin: {{ printf "%s:%v" (ternary $doors.address "127.0.0.1" $doors.admin.expose) $doors.admin.port | quote }}
{{- end -}}

{{/* What the chart writes; the user's text is behind it, so that the order of its credentials stays. */}}
{{- define "scopegate.settings" -}}
listen:
{{- include "scopegate.listen" . | trim | nindent 2 }}
{{- if eq .Values.mode "sidecar" }}
upstream: http://127.0.0.1:{{ .Values.sidecar.upstreamPort }}
{{- end }}
lame_duck: {{ .Values.shutdown.lameDuckSeconds }}s
drain_timeout: {{ .Values.shutdown.drainSeconds }}s
key_cache: /var/lib/scopegate/keys
{{- with .Values.store }}
{{- if .secret }}
store: {url_file: secrets/store/url, stale_for: {{ .staleFor }}}
store_keys: {file: secrets/store/keys}
{{- end }}
{{- end }}
{{- with .Values.limits }}
{{- if .secret }}
limits: {backend_file: secrets/limits/url, timeout: {{ .timeout }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Every request is denied, and nobody is known. */}}
{{- define "scopegate.denyAll" -}}
credentials:
  tokens: {kind: static, file: tokens/tokens.json}
routes:
  /: deny
{{- end -}}

{{/* The value `config`, without what may stand before a document that is one of its own. */}}
{{- define "scopegate.user" -}}
{{- $text := .Values.config | trimPrefix "\ufeff" | replace "\r\n" "\n" -}}
{{- $text = regexReplaceAll "^(?:[ \\t]*(?:#[^\\n]*)?\\n)*---[ \\t]*(?:#[^\\n]*)?(?:\\n|$)" $text "" -}}
{{- $text | trimAll "\n" -}}
{{- end -}}

{{- define "scopegate.config" -}}
{{- include "scopegate.checks" . -}}
# Of the chart's values.
{{ include "scopegate.settings" . }}
# Of the value `config`.
{{ include "scopegate.user" . | default (include "scopegate.denyAll" .) }}
{{- end -}}

{{/* One entry that no token fits: nobody knows a text with this digest, and it is disabled. */}}
{{- define "scopegate.tokenFile" -}}
{{- $nobody := dict "id" "nobody" "token_sha256" (repeat 64 "0") "scopes" (list "nothing:none") "disabled" true -}}
{{- .Values.tokens.entries | default (list $nobody) | toJson -}}
{{- end -}}

{{/* Changes of these keys wait for a restart (the gate refuses them while it runs): a digest of them replaces the pods, others reload. */}}
{{- define "scopegate.settingsDigest" -}}
{{- $user := include "scopegate.user" . | fromYaml -}}
{{- $fixed := pick $user "listen" "upstream" "trusted_proxies" "telemetry" "reload" "drain_timeout" "lame_duck" "reuse_port" "tls" "proxy_protocol" "bounds" "egress" "key_cache" "management" "limits" "store" "store_keys" -}}
{{- printf "%s\n%s" (include "scopegate.settings" .) (toJson $fixed) | sha256sum -}}
{{- end -}}

{{/* What no schema can say. Each message begins with the key. */}}
{{- define "scopegate.checks" -}}
{{- if and .Values.config .Values.existingConfigMap -}}
{{- fail "config: stands beside existingConfigMap; one of them" -}}
{{- end -}}
{{- include "scopegate.checksOfText" . -}}
{{- if and .Values.tokens.entries .Values.tokens.existingSecret -}}
{{- fail "tokens.entries: stand beside tokens.existingSecret; one of them" -}}
{{- end -}}
{{- $doors := .Values.doors -}}
{{- $ports := list (list "doors.admin.port" $doors.admin.port) -}}
{{- if eq .Values.mode "sidecar" -}}
{{- $ports = concat $ports (list (list "sidecar.port" .Values.sidecar.port) (list "sidecar.upstreamPort" .Values.sidecar.upstreamPort)) -}}
{{- else -}}
{{- if $doors.extAuthz.enabled -}}{{- $ports = append $ports (list "doors.extAuthz.port" $doors.extAuthz.port) -}}{{- end -}}
{{- if $doors.forwardAuth.enabled -}}{{- $ports = append $ports (list "doors.forwardAuth.port" $doors.forwardAuth.port) -}}{{- end -}}
{{- end -}}
{{- $taken := dict -}}
{{- range $ports -}}
{{- $port := printf "%v" (last .) -}}
{{- if hasKey $taken $port -}}
{{- fail (printf "%s: is %s, and so is %s; each has a port of its own" (first .) $port (get $taken $port)) -}}
{{- end -}}
{{- $_ := set $taken $port (first .) -}}
{{- end -}}
{{- range .Values.files.secrets -}}
{{- if or (and (eq .name "store") $.Values.store.secret) (and (eq .name "limits") $.Values.limits.secret) -}}
{{- fail (printf "files.secrets: `%s` would lie where the chart puts `%s.secret`; call the Secret otherwise" .name .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "scopegate.checksOfText" -}}
{{- $text := include "scopegate.user" . -}}
{{- $user := fromYaml $text -}}
{{- if hasKey $user "Error" -}}
{{- fail (printf "config: is not YAML: %s" $user.Error) -}}
{{- end -}}
{{- $own := list "listen" "lame_duck" "drain_timeout" "key_cache" -}}
{{- if eq .Values.mode "sidecar" -}}{{- $own = append $own "upstream" -}}{{- end -}}
{{- if .Values.store.secret -}}{{- $own = concat $own (list "store" "store_keys") -}}{{- end -}}
{{- if .Values.limits.secret -}}{{- $own = append $own "limits" -}}{{- end -}}
{{- range $own -}}
{{- if hasKey $user . -}}
{{- fail (printf "config: has the key `%s`, which the chart writes: use its values" .) -}}
{{- end -}}
{{- end -}}
{{- if .Values.config -}}
{{- /* It stands behind what the chart writes, so that it has to be of the same form. */}}
{{- $settings := include "scopegate.settings" . | fromYaml -}}
{{- $whole := printf "%s\n%s" (include "scopegate.settings" .) $text | fromYaml -}}
{{- if or (regexMatch "(?m)^(---|[.]{3})([ \\t]|$)" $text) (ne (toJson $whole) (toJson (merge (dict) $settings $user))) -}}
{{- fail "config: is not one YAML document whose keys begin at the left margin, as `scopegate.yaml` has them (JSON does not fit behind what the chart writes)" -}}
{{- end -}}
{{- range $key, $_ := $user -}}
{{- if gt (regexFindAll (printf "(?m)^[\"']?%s[\"']?[ \\t]*:" (regexQuoteMeta $key)) $text -1 | len) 1 -}}
{{- fail (printf "config: has the key `%s` twice" $key) -}}
{{- end -}}
{{- end -}}
{{- if not $user -}}
{{- fail "config: says nothing; leave it empty, or give it `credentials` and `routes`" -}}
{{- end -}}
{{- range $key := list "credentials" "routes" -}}
{{- if and (hasKey $user $key) (not (kindIs "map" (get $user $key))) -}}
{{- fail (printf "config: its `%s` are no mapping; the smallest are `credentials: {tokens: {kind: static, file: tokens/tokens.json}}` and `routes: {GET /health: public}`" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* Whatever needs a store would get one beside the configuration, where nothing can be written and no replica shares it. */}}
{{- if and (not .Values.store.secret) (not (hasKey $user "store")) -}}
{{- $needs := list -}}
{{- if hasKey $user "management" -}}{{- $needs = append $needs "`management`" -}}{{- end -}}
{{- range $name, $source := $user.credentials -}}
{{- if kindIs "map" $source -}}
{{- if or (eq (toString $source.kind) "api_key") (hasKey $source "profile") -}}{{- $needs = append $needs (printf "credential `%s`" $name) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $route := merge (dict "default" $user.default) ($user.routes | default dict) -}}
{{- if kindIs "map" $route -}}
{{- if hasKey $route "mfa" -}}{{- $needs = append $needs (printf "`mfa` of `%s`" $name) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $needs -}}
{{- fail (printf "store.secret: is needed by %s of config: what is stored is in PostgreSQL, which all replicas share" (join ", " $needs)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
