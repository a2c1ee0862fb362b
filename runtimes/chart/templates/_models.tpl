{{/*
Where the models are: claim (of people's own), volume (of theirs), class (a claim for a volume to be made),
efs, s3, or none, when the server has what its image has.
*/}}
{{- define "runtime.models" -}}
{{- with .Values.runtime.persistence }}
{{- if not .enabled }}none
{{- else if .existingClaim }}claim
{{- else if .existingVolume }}volume
{{- else if .efs.fileSystemId }}efs
{{- else if and .storageClass (ne .storageClass "-") }}class
{{- else if and .s3.enabled .s3.modelBucket }}s3
{{- else if .storageClass }}volume
{{- else }}none
{{- end }}
{{- end }}
{{- end }}

{{- define "runtime.modelsClaim" -}}
{{ .Values.runtime.persistence.existingClaim | default (printf "%s-models" (include "runtime.name" .)) }}
{{- end }}
