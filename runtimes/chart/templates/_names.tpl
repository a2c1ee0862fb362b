{{/* Name of the runtime, which every name starts with: generator/names.py has them all. */}}
{{- define "runtime.name" -}}
{{ .Values.global.runtime | default .Release.Name }}
{{- end }}

{{- define "runtime.serviceAccountName" -}}
{{ .Values.runtime.serviceAccountName | default (printf "%s-inference" (include "runtime.name" .)) }}
{{- end }}

{{/* NodePool that the pods run on, and value of the taint that keeps others away from it. */}}
{{- define "runtime.nodePool" -}}
{{ .Values.karpenter.existingNodePool | default (include "runtime.name" .) }}
{{- end }}

{{/* What selects the runtime's pods; it cannot change once there is a Deployment. */}}
{{- define "runtime.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ include "runtime.name" . }}
{{- end }}

{{- define "runtime.labels" -}}
{{ include "runtime.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "runtime.metadata" -}}
name: {{ include "runtime.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "runtime.labels" . | nindent 2 }}
{{- end }}

{{/* An image's reference. Takes the context, the image's values, and the name of the project's own. */}}
{{- define "runtime.image" -}}
{{- $registry := .context.Values.global.imageRegistry }}
{{- if not (or .image.repository $registry) }}
{{- fail (printf "global.imageRegistry is not set, where the image of %s would be: set it, or the image's repository" .own) }}
{{- end }}
{{- $repository := .image.repository | default (printf "%s/%s" $registry .own) }}
{{- if and .image.repository (regexMatch "[:@][^/]*$" .image.repository) }}
{{- if .image.tag }}
{{- fail (printf "%s has a tag or digest, and image.tag is set too: keep one" .image.repository) }}
{{- end }}
{{- .image.repository }}
{{- else }}
{{- $tag := .image.tag | default .context.Chart.AppVersion }}
{{- printf "%s%s%s" $repository (ternary "@" ":" (hasPrefix "sha256:" $tag)) $tag }}
{{- end }}
{{- end }}
