{{/* Names, labels and the image. */}}

{{- define "scopegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* A Service has it too, so that it is one label (RFC 1035): a release may have dots and begin with a digit, a Service may not. */}}
{{- define "scopegate.fullname" -}}
{{- $name := "" -}}
{{- if .Values.fullnameOverride -}}
{{- $name = .Values.fullnameOverride -}}
{{- else if contains (include "scopegate.name" .) .Release.Name -}}
{{- $name = .Release.Name -}}
{{- else -}}
{{- $name = printf "%s-%s" .Release.Name (include "scopegate.name" .) -}}
{{- end -}}
{{- $name = $name | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- fail (printf "fullnameOverride: is needed, because `%s` begins with a digit, which a Service may not" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "scopegate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "scopegate.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: {{ .Values.mode | quote }}
{{- end -}}

{{- define "scopegate.ownLabels" -}}
{{ include "scopegate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "scopegate.labels" -}}
{{- include "scopegate.together" (list "commonLabels" (include "scopegate.ownLabels" . | fromYaml) .Values.commonLabels) -}}
{{- end -}}

{{/* What the chart writes and what the value of this name adds, of which none is there already: twice in one map would be either. */}}
{{- define "scopegate.together" -}}
{{- $own := index . 1 -}}
{{- range $key, $_ := index . 2 -}}
{{- if hasKey $own $key -}}
{{- fail (printf "%s: has `%s`, which is there already" (index $ 0) $key) -}}
{{- end -}}
{{- end -}}
{{- with merge (dict) $own (index . 2 | default dict) -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- define "scopegate.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "scopegate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "scopegate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "scopegate.configMapName" -}}
{{- default (include "scopegate.fullname" .) .Values.existingConfigMap -}}
{{- end -}}

{{- define "scopegate.tokensName" -}}
{{- default (printf "%s-tokens" (include "scopegate.fullname" .)) .Values.tokens.existingSecret -}}
{{- end -}}

{{/* What every object begins with. */}}
{{- define "scopegate.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 | quote }}
namespace: {{ index . 2 | default $root.Release.Namespace | quote }}
labels: {{- include "scopegate.labels" $root | nindent 2 }}
{{- end -}}
