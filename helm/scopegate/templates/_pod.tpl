{{/* What every pod and every container of this chart has in common. */}}

{{- define "scopegate.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: {{ .Values.fsGroup }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "scopegate.securityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* The folder of the configuration, replaced as one when any of it changes, and one for copies of key sets. Without checksums of what is
reloaded: the gate follows changes. */}}
{{- define "scopegate.volumes" -}}
- name: scopegate-config
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ include "scopegate.configMapName" . }}
          items: [{key: scopegate.yaml, path: scopegate.yaml}]
      - secret:
          name: {{ include "scopegate.tokensName" . }}
          items: [{key: tokens.json, path: tokens/tokens.json}]
      {{- with .Values.store }}
      {{- if .secret }}
      - secret:
          name: {{ .secret }}
          items: [{key: {{ .urlKey }}, path: secrets/store/url}, {key: {{ .keysKey }}, path: secrets/store/keys}]
      {{- end }}
      {{- end }}
      {{- with .Values.limits }}
      {{- if .secret }}
      - secret:
          name: {{ .secret }}
          items: [{key: {{ .urlKey }}, path: secrets/limits/url}]
      {{- end }}
      {{- end }}
      {{- range .Values.files.secrets }}
      {{- $name := .name }}
      - secret:
          name: {{ $name }}
          items:
            {{- range .keys }}
            - {key: {{ . }}, path: secrets/{{ $name }}/{{ . }}}
            {{- end }}
      {{- end }}
      {{- range .Values.files.configMaps }}
      {{- $name := .name }}
      - configMap:
          name: {{ $name }}
          items:
            {{- range .keys }}
            - {key: {{ . }}, path: files/{{ $name }}/{{ . }}}
            {{- end }}
      {{- end }}
- name: scopegate-state
  emptyDir: {sizeLimit: 16Mi}
{{- end -}}

{{/* What the container of the gate is, whether alone, beside an application or before it. */}}
{{- define "scopegate.container" -}}
image: {{ include "scopegate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/scopegate/scopegate.yaml]
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
startupProbe:
  exec: {command: {{ toJson $healthcheck }}}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  exec: {command: {{ toJson $healthcheck }}}
  periodSeconds: 5
  failureThreshold: 2
livenessProbe:
  {{- /* Alive is not ready: a replica that drains, or whose store is away, is not to be killed for it. */}}
  {{- if .Values.doors.admin.expose }}
  httpGet: {path: /healthz, port: gate-admin}
  {{- else }}
  tcpSocket: {port: {{ ternary "gate" (ternary "grpc-authz" "http-authz" .Values.doors.extAuthz.enabled) (eq .Values.mode "sidecar") }}}
  {{- end }}
  periodSeconds: 10
  failureThreshold: 6
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext: {{- include "scopegate.securityContext" . | nindent 2 }}
volumeMounts:
  - {name: scopegate-config, mountPath: /etc/scopegate, readOnly: true}
  - {name: scopegate-state, mountPath: /var/lib/scopegate}
{{- end -}}

{{/* A native sidecar (Kubernetes 1.29) for the `initContainers` of another chart's pod, which has `scopegate.volumes` among its volumes:

    spec:
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
{{- include "scopegate.container" . | nindent 2 }}
{{- end -}}

{{/* How a Service prefers its endpoints; 1.29 has no such field. */}}
{{- define "scopegate.trafficDistribution" -}}
{{- if and .Values.service.trafficDistribution (semverCompare ">=1.31-0" .Capabilities.KubeVersion.Version) -}}
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
priorityClassName: {{ . }}
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
