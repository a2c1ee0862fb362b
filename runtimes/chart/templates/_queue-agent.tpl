{{/* The queue agent: the main container, which is asked to stop first. */}}
{{- define "runtime.queueAgent" -}}
{{- $agent := .Values.runtime.queueAgent }}
name: queue-agent
image: {{ include "runtime.image" (dict "context" . "image" $agent.image "own" "agent") | quote }}
imagePullPolicy: {{ $agent.imagePullPolicy }}
# Queue, topic, bucket, region: of the InferenceRuntime.
envFrom:
  - configMapRef: {name: {{ include "runtime.name" . }}-inference}
env:
  {{- include "runtime.env" (dict "own" (include "runtime.queueAgentEnv" . | fromYamlArray) "extra" $agent.extraEnv) | nindent 2 }}
ports:
  - {name: metrics, containerPort: 8081}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
resources:
  {{- toYaml $agent.resources | nindent 2 }}
securityContext:
  {{- include "runtime.securityContext" dict | nindent 2 }}
volumeMounts:
  - {name: scratch, mountPath: /tmp, subPath: queue-agent}
  - {name: kubernetes, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- define "runtime.queueAgentEnv" -}}
{{- $agent := .Values.runtime.queueAgent }}
- {name: RUNTIME_TYPE, value: {{ .Values.runtime.type }}}
{{- if eq .Values.runtime.type "sdwebui" }}
{{- include "runtime.modelEnv" . }}
{{- end }}
- {name: JOB_TIMEOUT_SECONDS, value: {{ $agent.jobTimeoutSeconds | quote }}}
- {name: DRAIN_SECONDS, value: {{ $agent.drainSeconds | quote }}}
- {name: FINISH_SECONDS, value: {{ $agent.finishSeconds | quote }}}
# So that it can mark its pod as busy.
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
{{- $tracing := include "runtime.tracing" . }}
- {name: TRACING, value: {{ $tracing }}}
{{- if eq $tracing "xray" }}
- {name: AWS_XRAY_DAEMON_ADDRESS, value: "127.0.0.1:2000"}
- {name: AWS_XRAY_CONTEXT_MISSING, value: IGNORE_ERROR}
{{- else if eq $tracing "otlp" }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ $agent.otlpEndpoint | quote }}}
{{- end }}
{{- range $name, $value := dict "S3_BUCKET" $agent.s3Bucket "SNS_TOPIC_ARN" $agent.snsTopicArn "SQS_QUEUE_URL" $agent.sqsQueueUrl }}
{{- with $value }}
- {name: {{ $name }}, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}
