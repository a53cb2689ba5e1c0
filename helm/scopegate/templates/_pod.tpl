{{/* What every pod and every container of this chart has in common. */}}

{{/* A user or group that is null is the platform's to give, as OpenShift does. */}}
{{- define "scopegate.runAs" -}}
runAsNonRoot: true
{{- if .Values.runAsUser }}
runAsUser: {{ .Values.runAsUser }}
runAsGroup: {{ .Values.runAsUser }}
{{- end }}
{{- end -}}

{{- define "scopegate.podSecurityContext" -}}
{{ include "scopegate.runAs" . }}
{{- if .Values.fsGroup }}
fsGroup: {{ .Values.fsGroup }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "scopegate.securityContext" -}}
{{ include "scopegate.runAs" . }}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Of a pod with the gate in it, whoever's it is: a gate refuses to change its settings while it runs, and a digest of them replaces the pod.
What is reloaded (rules, roles, tokens) is not part of it. */}}
{{- define "scopegate.podAnnotations" -}}
checksum/scopegate-settings: {{ include "scopegate.settingsDigest" . }}
{{- end -}}

{{/* lame duck, drain, and a margin: SIGTERM is all that a gate needs to leave without loss, no hook. */}}
{{- define "scopegate.terminationSeconds" -}}
{{ add .Values.shutdown.lameDuckSeconds .Values.shutdown.drainSeconds 5 }}
{{- end -}}

{{/* The folder of the configuration, replaced as one when any of it changes, and one for copies of key sets. Without checksums of what is
reloaded: the gate follows changes. */}}
{{- define "scopegate.volumes" -}}
- name: scopegate-config
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ include "scopegate.configMapName" . | quote }}
          items: [{key: scopegate.yaml, path: scopegate.yaml}]
      - secret:
          name: {{ include "scopegate.tokensName" . | quote }}
          items: [{key: tokens.json, path: tokens/tokens.json}]
      {{- with .Values.store }}
      {{- if .secret }}
      - secret:
          name: {{ .secret | quote }}
          items: [{key: {{ .urlKey | quote }}, path: secrets/store/url}, {key: {{ .keysKey | quote }}, path: secrets/store/keys}]
      {{- end }}
      {{- end }}
      {{- with .Values.limits }}
      {{- if .secret }}
      - secret:
          name: {{ .secret | quote }}
          items: [{key: {{ .urlKey | quote }}, path: secrets/limits/url}]
      {{- end }}
      {{- end }}
      {{- range .Values.files.secrets }}
      {{- $name := .name }}
      - secret:
          name: {{ $name | quote }}
          items:
            {{- range .keys }}
            - {key: {{ . | quote }}, path: {{ printf "secrets/%s/%s" $name . | quote }}}
            {{- end }}
      {{- end }}
      {{- range .Values.files.configMaps }}
      {{- $name := .name }}
      - configMap:
          name: {{ $name | quote }}
          items:
            {{- range .keys }}
            - {key: {{ . | quote }}, path: {{ printf "files/%s/%s" $name . | quote }}}
            {{- end }}
      {{- end }}
- name: scopegate-state
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the container of the gate is, whether alone, beside an application or before it. */}}
{{- define "scopegate.container" -}}
image: {{ include "scopegate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
  - --config
  - /etc/scopegate/scopegate.yaml
  {{- if .Values.existingConfigMap }}
  {{- /* Probes and Services know the doors by the chart's values, whatever that file says. */}}
  {{- range $door, $address := include "scopegate.listen" . | fromYaml }}
  - --{{ $door | replace "_" "-" }}
  - {{ $address | quote }}
  {{- end }}
  {{- if eq .Values.mode "sidecar" }}
  - --upstream
  - http://127.0.0.1:{{ .Values.sidecar.upstreamPort }}
  {{- end }}
  {{- end }}
env:
  - {name: SCOPEGATE_LOG, value: {{ .Values.logLevel | quote }}}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- if eq .Values.mode "sidecar" }}
  - {name: gate, containerPort: {{ .Values.sidecar.port }}}
  {{- else }}
  {{- if .Values.doors.extAuthz.enabled }}
  - {name: grpc-authz, containerPort: {{ .Values.doors.extAuthz.port }}}
  {{- end }}
  {{- if .Values.doors.forwardAuth.enabled }}
  - {name: http-authz, containerPort: {{ .Values.doors.forwardAuth.port }}}
  {{- end }}
  {{- end }}
  {{- if .Values.doors.admin.expose }}
  - {name: gate-admin, containerPort: {{ .Values.doors.admin.port }}}
  {{- end }}
{{- $healthcheck := list "scopegate" "healthcheck" "--address" (printf "127.0.0.1:%v" .Values.doors.admin.port) }}
{{- if eq .Values.mode "sidecar" }}
# The application starts behind it. What it waits for (a store, keys of an issuer) does not come sooner by a restart: an hour.
startupProbe:
  exec: {command: {{ toJson $healthcheck }}}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 3600
{{- end }}
readinessProbe:
  exec: {command: {{ toJson $healthcheck }}}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
# Alive is not ready: a gate that drains, or whose store is away, is not to be killed for it.
livenessProbe:
  exec: {command: {{ append $healthcheck "--live" | toJson }}}
  periodSeconds: 10
  timeoutSeconds: 2
  failureThreshold: 6
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext: {{- include "scopegate.securityContext" . | nindent 2 }}
volumeMounts:
  - {name: scopegate-config, mountPath: /etc/scopegate, readOnly: true}
  - {name: scopegate-state, mountPath: /var/lib/scopegate}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* A native sidecar (Kubernetes 1.29) for the `initContainers` of another chart's pod, which has `scopegate.volumes` among its volumes:

    metadata:
      annotations: {{ include "scopegate.podAnnotations" .Subcharts.scopegate }}
    spec:
      terminationGracePeriodSeconds: more than `scopegate.terminationSeconds` and the application's own `preStop` together, which sleeps for longer
        than `shutdown.lameDuckSeconds`
      securityContext: {{ include "scopegate.podSecurityContext" .Subcharts.scopegate }}
      initContainers: {{ include "scopegate.sidecar" .Subcharts.scopegate }}
      volumes: {{ include "scopegate.volumes" .Subcharts.scopegate }}
*/}}
{{- define "scopegate.sidecar" -}}
{{- if ne .Values.mode "sidecar" -}}
{{- fail (printf "mode: is `%s`, and `scopegate.sidecar` needs `sidecar`" .Values.mode) -}}
{{- end -}}
- name: scopegate
  restartPolicy: Always
  # Its SIGTERM comes after the application has ended: clients are sent away before.
  lifecycle: {preStop: {exec: {command: [scopegate, retire]}}}
{{- include "scopegate.container" . | nindent 2 }}
{{- end -}}

{{/* How a Service prefers its endpoints: 1.29 has no such field, and the two newer values came with 1.34. */}}
{{- define "scopegate.trafficDistribution" -}}
{{- $since := ternary ">=1.31-0" ">=1.34-0" (eq .Values.service.trafficDistribution "PreferClose") -}}
{{- if and .Values.service.trafficDistribution (semverCompare $since .Capabilities.KubeVersion.Version) -}}
trafficDistribution: {{ .Values.service.trafficDistribution }}
{{- end -}}
{{- end -}}

{{/* Where pods go, and how long they have to leave. */}}
{{- define "scopegate.scheduling" -}}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .Values.topologySpreadConstraints }}
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "scopegate.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
securityContext: {{- include "scopegate.podSecurityContext" . | nindent 2 }}
{{- end -}}

{{/* Labels and annotations of a pod of the chart's own, and those that it adds to each. */}}
{{- define "scopegate.podMetadata" -}}
{{- $root := index . 0 -}}
labels: {{- include "scopegate.together" (list "podLabels" (include "scopegate.labels" $root | fromYaml) $root.Values.podLabels) | nindent 2 }}
annotations: {{- include "scopegate.together" (list "podAnnotations" (index . 1) $root.Values.podAnnotations) | nindent 2 }}
{{- end -}}
