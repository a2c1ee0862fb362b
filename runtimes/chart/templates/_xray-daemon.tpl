{{/* The X-Ray daemon: a native sidecar, so that it is there for the last trace. */}}
{{- define "runtime.xrayDaemon" -}}
name: xray-daemon
image: {{ include "runtime.image" (dict "context" . "image" .Values.runtime.queueAgent.xray.daemon.image "own" "aws-xray-daemon") | quote }}
restartPolicy: Always
# Pods cannot ask the instance for its region.
env:
  - {name: AWS_REGION, value: {{ .Values.global.awsRegion | quote }}}
ports:
  - {name: xray, containerPort: 2000, protocol: UDP}
resources:
  requests: {cpu: 10m, memory: 32Mi}
  limits: {memory: 128Mi}
# Its image names a user, and Kubernetes wants a number.
securityContext:
  {{- include "runtime.securityContext" (dict "runAsUser" 65532) | nindent 2 }}
{{- end }}
