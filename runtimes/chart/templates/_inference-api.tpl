{{/* The inference server: a native sidecar, so that it is there before the agent and as long as it. */}}
{{- define "runtime.inferenceApi" -}}
{{- $api := .Values.runtime.inferenceApi }}
{{- $probe := dict "path" (ternary "/system_stats" "/sdapi/v1/memory" (eq .Values.runtime.type "comfyui")) "port" "http" }}
name: inference-api
image: {{ include "runtime.image" (dict "context" . "image" $api.image "own" .Values.runtime.type) | quote }}
imagePullPolicy: {{ $api.imagePullPolicy }}
restartPolicy: Always
{{- with include "runtime.env" (dict "own" (include "runtime.inferenceApiEnv" . | fromYamlArray) "extra" $api.extraEnv) | fromYamlArray }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - {name: http, containerPort: 8080}
# Each second, so that no GPU waits for the next look.
startupProbe:
  httpGet: {{- toYaml $probe | nindent 4 }}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: {{ $api.startupSeconds }}
# A server that loads another model may not answer, for as long as it may take to start.
livenessProbe:
  httpGet: {{- toYaml $probe | nindent 4 }}
  periodSeconds: 30
  timeoutSeconds: 10
  failureThreshold: {{ max 3 (div (add $api.startupSeconds 29) 30) }}
resources:
  {{- toYaml $api.resources | nindent 2 }}
securityContext:
  {{- include "runtime.securityContext" $api.securityContext | nindent 2 }}
{{- with include "runtime.inferenceApiMounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "runtime.inferenceApiMounts" -}}
{{- $api := .Values.runtime.inferenceApi }}
{{- range $path := $api.writablePaths }}
- {name: scratch, mountPath: {{ $path | quote }}, subPath: {{ printf "inference-api%s" $path | quote }}}
{{- end }}
{{- if eq .Values.runtime.type "sdwebui" }}
- {name: sdwebui, mountPath: /tmp/config.json, subPath: config.json, readOnly: true}
{{- end }}
{{- if ne (include "runtime.models" .) "none" }}
- {name: models, mountPath: {{ $api.modelMountPath | quote }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "runtime.inferenceApiEnv" -}}
{{- if eq .Values.runtime.type "sdwebui" }}
- {name: API_ONLY, value: "true"}
- {name: CONFIG_FILE, value: /tmp/config.json}
{{- include "runtime.modelEnv" . }}
{{- end }}
{{- if ne (include "runtime.models" .) "none" }}
- {name: MODELS_DIR, value: {{ .Values.runtime.inferenceApi.modelMountPath | quote }}}
{{- end }}
{{- with .Values.runtime.inferenceApi.commandArguments }}
- {name: EXTRA_CMD_ARG, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{/* Both containers are told which model is served. */}}
{{- define "runtime.modelEnv" -}}
{{- if .Values.runtime.queueAgent.dynamicModel }}
- {name: DYNAMIC_SD_MODEL, value: "true"}
{{- else if .Values.runtime.inferenceApi.modelFilename }}
- {name: SD_MODEL_CHECKPOINT, value: {{ .Values.runtime.inferenceApi.modelFilename | quote }}}
{{- end }}
{{- end }}

{{/* A container's, with what is to be different. */}}
{{- define "runtime.securityContext" -}}
{{- $strict := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) }}
{{- mergeOverwrite $strict (deepCopy (. | default dict)) | toYaml }}
{{- end }}
