{{/* What the schema cannot say. */}}
{{- define "runtime.validate" -}}
{{- with .Values.karpenter }}
{{- if not .existingNodePool }}
{{- if not (or .nodeTemplate.iamRole .nodeTemplate.instanceProfile) }}
{{- fail "karpenter.nodeTemplate.iamRole is not set: name the IAM role of the nodes, or set karpenter.existingNodePool" }}
{{- end }}
{{- range $key := list "securityGroupSelector" "subnetSelector" }}
{{- if not (get $.Values.karpenter.nodeTemplate $key) }}
{{- fail (printf "karpenter.nodeTemplate.%s is not set: give the tags that they are found by, or set karpenter.existingNodePool" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if not .Values.global.awsRegion }}
{{- fail "global.awsRegion is not set: name the AWS region of the cluster" }}
{{- end }}
{{- $names := list }}
{{- range $name, $variable := .Values.runtime.queueAgent.extraEnv }}
{{- $names = append $names (kindIs "map" $variable | ternary (dig "name" "" (kindIs "map" $variable | ternary $variable dict)) $name) }}
{{- end }}
{{- range $name, $value := dict "JOB_TIMEOUT_SECONDS" "jobTimeoutSeconds" "DRAIN_SECONDS" "drainSeconds" "FINISH_SECONDS" "finishSeconds" }}
{{- if has $name $names }}
{{- fail (printf "runtime.queueAgent.extraEnv has %s, and the pod's grace period would not follow it: set runtime.queueAgent.%s" $name $value) }}
{{- end }}
{{- end }}
{{- end }}
